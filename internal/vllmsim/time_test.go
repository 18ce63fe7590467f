package vllmsim_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

const (
	ttft = 200 * time.Millisecond
	itl  = 10 * time.Millisecond
)

func TestDelays(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  vllmsim.Config
		path string
		body string
		want time.Duration
	}{
		"none":               {vllmsim.Config{}, chatPath, chatWith("x"), 0},
		"whole":              {vllmsim.Config{TTFT: ttft, ITL: itl}, chatPath, chatWith("[[sim:tokens=11]]"), ttft + 10*itl},
		"streamed":           {vllmsim.Config{TTFT: ttft, ITL: itl}, chatPath, streamed(chatWith("[[sim:tokens=11]]")), ttft + 10*itl},
		"TTFT only":          {vllmsim.Config{TTFT: ttft}, chatPath, streamed(chatWith("[[sim:tokens=11]]")), ttft},
		"ITL only":           {vllmsim.Config{ITL: itl}, chatPath, streamed(chatWith("[[sim:tokens=11]]")), 10 * itl},
		"embedding":          {vllmsim.Config{TTFT: ttft, ITL: itl}, "/v1/embeddings", `{"model":"sim","input":"x"}`, ttft},
		"slow":               {vllmsim.Config{TTFT: ttft, ITL: itl}, chatPath, chatWith("[[sim:slow=10m]][[sim:tokens=11]]"), 10*time.Minute + 10*itl},
		"slow stream":        {vllmsim.Config{ITL: itl}, chatPath, streamed(chatWith("[[sim:slow=10m]][[sim:tokens=2]]")), 10*time.Minute + itl},
		"slow=0":             {vllmsim.Config{TTFT: ttft}, chatPath, chatWith("[[sim:slow=0s]]"), 0},
		"gap":                {vllmsim.Config{TTFT: ttft, ITL: itl}, chatPath, streamed(chatWith("[[sim:gap=5m]][[sim:tokens=11]]")), 5*time.Minute + ttft + 10*itl},
		"gap without delays": {vllmsim.Config{}, chatPath, streamed(chatWith("[[sim:gap]][[sim:tokens=3]]")), time.Second},
		"gap of a whole one": {vllmsim.Config{}, chatPath, chatWith("[[sim:gap=5m]]"), 5 * time.Minute},
		"slow, once":         {vllmsim.Config{}, chatPath, chatWith("[[sim:slow=1h,times=1]]"), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vllmsim.New(test.cfg)
				defer s.Close()
				start := time.Now()
				if w := post(t, s, test.path, test.body); w.Code != http.StatusOK {
					t.Errorf("status %d: %s", w.Code, w.Body)
				}
				if got := time.Since(start); got != test.want {
					t.Errorf("took %s, want %s", got, test.want)
				}
			})
		})
	}
}

// arrivals returns the times at which the events of a stream arrive.
func arrivals(t *testing.T, body io.Reader, start time.Time) []time.Duration {
	t.Helper()
	var at []time.Duration
	buf := make([]byte, 64<<10)
	for {
		n, err := body.Read(buf)
		for range strings.Count(string(buf[:n]), "data: {") {
			at = append(at, time.Since(start))
		}
		if err == io.EOF {
			return at
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTokensComeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{TTFT: ttft, ITL: itl})
		client := serve(t, s)
		start := time.Now()
		resp, err := send(t.Context(), client, chatPath, streamed(chatWith("[[sim:tokens=6]][[sim:gap=1m]]")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := time.Since(start); got != 0 {
			t.Errorf("the header of a stream comes after %s, want at once", got)
		}
		got := fmt.Sprint(arrivals(t, resp.Body, start))
		// The role comes with the first token.
		want := "[200ms 200ms 210ms 220ms 1m0.23s 1m0.24s 1m0.25s]"
		if got != want {
			t.Errorf("events at %s, want %s", got, want)
		}
	})
}

// As from vLLM, the header of a stream comes while the request waits.
func TestHeaderOfAWaitingStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{MaxNumSeqs: 1, TTFT: time.Second})
		client := serve(t, s)
		blocked := make(chan error)
		go func() {
			_, _, err := exchange(t.Context(), client, chatPath, chatWith("first"))
			blocked <- err
		}()
		synctest.Wait()
		begin := time.Now()
		resp, err := send(t.Context(), client, chatPath, streamed(chatWith("second")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		synctest.Wait()
		if got := time.Since(begin); got != 0 || s.Stats().Waiting != 1 {
			t.Errorf("the header came after %s with %+v", got, s.Stats())
		}
		if at := arrivals(t, resp.Body, begin); at[0] != 2*time.Second {
			t.Errorf("the first token came after %s", at[0])
		}
		if err := <-blocked; err != nil {
			t.Error(err)
		}
	})
}

func TestSlotsAreGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{TTFT: time.Second, MaxNumSeqs: 2})
		defer s.Close()
		start := time.Now()
		ended := make(chan string, 5)
		for i := range 5 {
			go func() {
				post(t, s, chatPath, chatWith(fmt.Sprintf("sim-id:%d", i)))
				ended <- fmt.Sprintf("%d at %s", i/2*2, time.Since(start))
			}()
			synctest.Wait()
		}
		if got := s.Stats(); got.Running != 2 || got.Waiting != 3 || got.Calls != 5 || got.Finished != 0 {
			t.Errorf("at first %+v", got)
		}
		var order []string
		for range 5 {
			order = append(order, <-ended)
		}
		if got, want := strings.Join(order, ", "), "0 at 1s, 0 at 1s, 2 at 2s, 2 at 2s, 4 at 3s"; got != want {
			t.Errorf("ended %s, want %s", got, want)
		}
		if got := s.Stats(); got.Running != 0 || got.Waiting != 0 || got.Finished != 5 || got.MaxRunning != 2 {
			t.Errorf("at last %+v", got)
		}
	})
}

// TestClientLeaves checks that a disconnected client is detected in every state of its
// request.
func TestClientLeaves(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		after time.Duration
	}{
		"whole":           {chatWith("sim-id:it"), 30 * time.Second},
		"streamed":        {streamed(chatWith("sim-id:it")), 30 * time.Second},
		"mid-stream":      {streamed(chatWith("sim-id:it [[sim:tokens=1000000]]")), time.Hour},
		"hang":            {chatWith("sim-id:it [[sim:hang]]"), time.Hour},
		"hang a stream":   {streamed(chatWith("sim-id:it [[sim:hang]]")), time.Hour},
		"hang mid":        {chatWith("sim-id:it [[sim:hang-mid]]"), time.Hour},
		"hang mid-stream": {streamed(chatWith("sim-id:it [[sim:hang-mid]]")), time.Hour},
	} {
		for _, waits := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, waiting=%t", name, waits), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testClientLeaves(t, test.body, test.after, waits) })
			})
		}
	}
}

func testClientLeaves(t *testing.T, body string, after time.Duration, waits bool) {
	s := vllmsim.New(vllmsim.Config{TTFT: time.Minute, ITL: time.Second, MaxNumSeqs: 1})
	client := serve(t, s)
	blocker, unblock := context.WithCancel(t.Context())
	if waits {
		blocked := make(chan struct{})
		go func() {
			defer close(blocked)
			_, _, _ = exchange(blocker, client, chatPath, chatWith("[[sim:hang]]")) // fails when it is unblocked
		}()
		defer func() { <-blocked }()
		synctest.Wait()
	}
	defer unblock()

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	left := make(chan error)
	go func() {
		_, _, err := exchange(ctx, client, chatPath, body)
		left <- err
	}()
	time.Sleep(after) // by the bubble's clock
	synctest.Wait()
	if got := s.Stats(); got.Running != 1 || got.Waiting == 1 != waits || got.Aborted+got.Finished != 0 {
		t.Errorf("before the client leaves: %+v", got)
	}
	leave()
	if err := <-left; err == nil {
		t.Error("the client that left has no error")
	}
	synctest.Wait()
	if got := s.Stats(); got.Running == 1 != waits || got.Waiting != 0 || got.Aborted != 1 || got.Finished+got.Faulted != 0 {
		t.Errorf("after the client left: %+v", got)
	}
	if got := s.Calls("it"); got != (vllmsim.Calls{Received: 1, Aborted: 1}) {
		t.Errorf("calls %+v", got)
	}
}

// TestClose checks that Close ends waiting, running and hanging requests, and that later
// ones are refused.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{TTFT: time.Minute, MaxNumSeqs: 2})
		client := serve(t, s)
		failed := make(chan error, 4)
		for _, body := range []string{chatWith("[[sim:hang]]"), streamed(chatWith("a")), chatWith("b"), streamed(chatWith("c"))} {
			go func() {
				_, _, err := exchange(t.Context(), client, chatPath, body)
				failed <- err
			}()
		}
		synctest.Wait()
		if got := s.Stats(); got.Running != 2 || got.Waiting != 2 {
			t.Errorf("before: %+v", got)
		}
		s.Close()
		s.Close()
		for range 4 {
			if err := <-failed; err == nil {
				t.Error("a request was answered")
			}
		}
		synctest.Wait()
		if got := s.Stats(); got.Running+got.Waiting != 0 || got.Aborted != 4 {
			t.Errorf("after: %+v", got)
		}
		if w := get(t, s, "/health"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("health is %d", w.Code)
		}
	})
}

// TestServeEndsAtOnce checks that the end of Serve does not wait for hanging requests.
func TestServeEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{})
		n := newNetwork()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- s.Serve(ctx, n) }()
		client := n.client()
		failed := make(chan error)
		go func() {
			_, _, err := exchange(t.Context(), client, chatPath, chatWith("[[sim:hang]]"))
			failed <- err
		}()
		synctest.Wait()
		begin := time.Now()
		stop()
		if err := <-failed; err == nil {
			t.Error("a request that hung was answered")
		}
		if err := <-served; err != nil || time.Since(begin) > 100*time.Millisecond {
			t.Errorf("Serve ended after %s: %v", time.Since(begin), err)
		}
	})
}

// TestSlotIsNotLost checks that a slot for a client that just disconnected goes to the next
// one.
func TestSlotIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(vllmsim.Config{TTFT: time.Second, MaxNumSeqs: 1})
		client := serve(t, s)
		for range 50 {
			ctx, leave := context.WithTimeout(t.Context(), time.Second) // when the first one ends
			done := make(chan struct{}, 3)
			for i := range 3 {
				go func() {
					lifetime := context.WithoutCancel(ctx)
					if i == 1 {
						lifetime = ctx
					}
					if _, _, err := exchange(lifetime, client, chatPath, chatWith("x")); err != nil && i != 1 {
						t.Error(err)
					}
					done <- struct{}{}
				}()
				synctest.Wait()
			}
			for range 3 {
				<-done
			}
			leave()
		}
		synctest.Wait()
		if got := s.Stats(); got.Running != 0 || got.Waiting != 0 || got.MaxRunning != 1 {
			t.Errorf("stats %+v", got)
		}
	})
}

func TestStartup(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuse=%t", refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vllmsim.New(vllmsim.Config{Startup: time.Minute, RefuseAtStartup: refuse})
				client := serve(t, s)
				for range 2 {
					resp, text, err := exchange(t.Context(), client, chatPath, chatWith("x"))
					switch {
					case refuse && err == nil:
						t.Errorf("answered %d while loading", resp.StatusCode)
					case !refuse && (err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "loading")):
						t.Errorf("while loading: %v, %s", err, text)
					}
					time.Sleep(30*time.Second - time.Nanosecond)
				}
				time.Sleep(2 * time.Nanosecond)
				if _, text, err := exchange(t.Context(), client, chatPath, chatWith("x")); err != nil || !strings.Contains(text, "chat.completion") {
					t.Errorf("after Startup: %v, %s", err, text)
				}
				if got := s.Stats(); got.Calls != 1 || got.Requests != 3 {
					t.Errorf("stats %+v", got)
				}
			})
		})
	}
}
