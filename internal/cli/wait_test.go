package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestWait(t *testing.T) {
	g := newGateway(t)
	fine, mixed := g.ran("a", "b"), g.ran("a", "refuse")
	if got := g.run("batch", "wait", fine).want(t, 0); got.out != fine+" completed\n" || !strings.Contains(got.err, fine+" completed 100% 2/2\n") {
		t.Errorf("printed %q, said %q", got.out, got.err)
	}
	if got := g.run("batch", "wait", fine, mixed, "--json").want(t, ExitIncomplete, mixed+" is completed: 1 of 2 lines completed, 1 failed"); strings.Count(got.out, `"object":"batch"`) != 2 {
		t.Errorf("printed %q", got.out)
	}
	// An error outweighs a batch that is incomplete.
	if got := g.run("batch", "wait", "batch_none", mixed, fine).want(t, 1, "1 of 3 failed"); strings.Count(got.out, "\n") != 2 || !strings.Contains(got.err, "Error: waiting for batch_none: No batch found") {
		t.Errorf("printed %q, said %q", got.out, got.err)
	}
	g.run("batch", "wait", "batch_none").want(t, 1, "waiting for batch_none: No batch found with id 'batch_none'. (404)")
	g.run("batch", "wait").want(t, 1, "requires at least 1 arg")
}

// looked returns a channel with a value for each request for a batch.
func (g *gateway) looked() <-chan int {
	looks, n := make(chan int, 1000), 0
	var mu sync.Mutex
	g.intercept(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/batches/") {
			mu.Lock()
			n++
			looks <- n
			mu.Unlock()
		}
	})
	return looks
}

func TestWaitUntilItEnds(t *testing.T) {
	g := newGateway(t)
	id := g.submit("a", "hold")
	looks := g.looked()
	done := make(chan invocation)
	go func() { done <- g.run("batch", "wait", id) }()
	for n := range looks {
		if n == 3 {
			break
		}
	}
	select {
	case got := <-done:
		t.Fatalf("did not wait: %+v", got)
	default:
	}
	g.release()
	if got := (<-done).want(t, 0); !strings.Contains(got.err, id+" in_progress") {
		t.Errorf("said %q", got.err)
	}
}

// TestWaitForAPausedBatch checks that wait reports a pause.
func TestWaitForAPausedBatch(t *testing.T) {
	g := newGateway(t)
	id := g.submit("a", "hold")
	g.run("batch", "pause", id).want(t, 0)
	looks := g.looked()
	done := make(chan invocation)
	go func() { done <- g.run("batch", "wait", id) }()
	<-looks
	<-looks // the first was answered
	g.run("batch", "resume", id).want(t, 0)
	g.release()
	if got := (<-done).want(t, 0); !strings.Contains(got.err, id+" in_progress (paused)") {
		t.Errorf("said %q", got.err)
	}
}

// outage has the gateway not answer n requests, then it calls over.
func (g *gateway) outage(after, n int64, over func()) {
	var seen atomic.Int64
	g.intercept(func(w http.ResponseWriter, _ *http.Request) {
		if i := seen.Add(1); i > after && i <= after+n {
			if i%2 == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			panic(answeredByHook{})
		} else if i == after+n+1 {
			over()
		}
	})
}

func TestWaitOutlivesTheGateway(t *testing.T) {
	g := newGateway(t)
	id := g.submit("hold")
	g.outage(1, 12, g.release) // more than the retries of one look
	s := g.session()
	var said strings.Builder
	s.err = &said
	b, err := s.wait(t.Context(), id)
	if err != nil || b.Status != "completed" {
		t.Errorf("%+v, %v", b, err)
	}
	if !strings.Contains(said.String(), id+": waiting for the gateway\n") {
		t.Errorf("said %q", said.String())
	}
}

func TestWaitGivesUp(t *testing.T) {
	g := newGateway(t)
	id := g.submit("hold")
	defer g.release()
	s := g.session()
	s.named, s.patience = " --server "+g.URL, 0
	g.outage(1, 1<<40, nil)
	_, err := s.wait(t.Context(), id)
	if err == nil {
		t.Fatal("waited")
	}
	err = s.goesOn(t.Context(), id, err)
	if want := id + " continues; wait for it again with: tidegate batch wait " + id + " --server " + g.URL; !strings.Contains(err.Error(), want) {
		t.Errorf("said %q, want %q", err, want)
	}
	if _, exit := errors.AsType[*ExitError](err); exit {
		t.Error("this is no interrupt")
	}
	// wait ends for a batch that was deleted meanwhile.
	g.intercept(nil)
	looks := 0
	g.intercept(func(w http.ResponseWriter, _ *http.Request) {
		if looks++; looks > 1 {
			w.WriteHeader(http.StatusNotFound)
			panic(answeredByHook{})
		}
	})
	if _, err := g.session().wait(t.Context(), id); err == nil || looks != 2 {
		t.Errorf("%d looks, %v", looks, err)
	}
}

// The signal is sent while the program surely handles it: between two looks.
func TestCtrlC(t *testing.T) {
	for _, command := range []string{"wait", "submit"} {
		t.Run(command, func(t *testing.T) {
			g := newGateway(t)
			defer g.release()
			in := write(t, "in.jsonl", requests("hold"))
			args := []string{"batch", "submit", in, "--wait"}
			if command == "wait" {
				args = []string{"batch", "wait", g.submit("hold")}
			}
			looks := g.looked()
			done := make(chan invocation)
			go func() { done <- g.run(args...) }()
			<-looks
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			got := (<-done).want(t, ExitInterrupted)
			id := g.batches()[0]
			if want := "interrupted: " + id + " continues; wait for it again with: tidegate batch wait " + id + " --server " + g.URL; got.error == nil || got.error.Error() != want {
				t.Errorf("said %q, want %q", got.error, want)
			}
			if strings.Contains(got.err, "canceled") {
				t.Errorf("said %q", got.err)
			}
			if b, err := g.session().Batch(t.Context(), id); err != nil || ended(b.Status) {
				t.Errorf("the batch is %s, %v", b.Status, err)
			}
		})
	}
}

// TestInterrupted checks that Ctrl-C ends every wait, including that for input.
func TestInterrupted(t *testing.T) {
	g := newGateway(t)
	id := g.ran("a")
	for name, args := range map[string][]string{
		"requests from a terminal": {"batch", "submit", "-"},
		"a file from a terminal":   {"files", "upload", "-", "--purpose", "user_data"},
		"a question":               {"batch", "delete", id},
		"two questions":            {"files", "delete", "file-1", "file-2"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in, nobody := io.Pipe()
			defer nobody.Close()
			waits := &watched{r: in, reading: cancel}
			got := tidegate(ctx, waits, append(args, "--server", g.URL)...).want(t, ExitInterrupted)
			if got.error == nil || got.error.Error() != "interrupted" {
				t.Errorf("said %q", got.error)
			}
		})
	}
	if got := g.batches(); !slices.Equal(got, []string{id}) {
		t.Errorf("left %q", got)
	}
	if err := interrupted(t.Context(), context.Canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v without an interrupt", err)
	}
}

// watched signals when it is read.
type watched struct {
	r       io.Reader
	reading func()
}

func (w *watched) Read(p []byte) (int, error) { w.reading(); return w.r.Read(p) }
