package vllmsim_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// simple is a configuration without an engine, of about the same times.
func simple(change func(*vllmsim.Config)) vllmsim.Config {
	cfg := vllmsim.Config{TTFT: 10 * time.Millisecond, ITL: 8 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

// modes are the two ways to run requests.
var modes = map[string]func(func(*vllmsim.Config)) vllmsim.Config{"simple": simple, "engine": gpu}

// An engine that dies answers all that run and wait, and the process exits
// later. Nothing runs in between.
func TestDeath(t *testing.T) {
	for name, config := range modes {
		for _, how := range []string{"marker", "route"} {
			t.Run(name+", "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					exited := make(chan time.Time, 1)
					s := vllmsim.New(config(func(c *vllmsim.Config) {
						c.MaxNumSeqs = 2
						c.Exit = func(code int) { exited <- time.Now() }
					}))
					client := serve(t, s)
					answers := make(chan string, 4)
					for i := range 4 {
						go func() {
							body := chatWith("[[sim:tokens=1000]]")
							if i%2 == 1 {
								body = streamed(body)
							}
							resp, text, err := exchange(t.Context(), client, chatPath, body)
							if err != nil {
								answers <- err.Error()
								return
							}
							events := strings.Split(strings.TrimSpace(text), "\n\n")
							last := strings.Join(events[max(0, len(events)-2):], " ")
							answers <- fmt.Sprintf("stream=%t %d %s", i%2 == 1, resp.StatusCode, last)
						}()
						synctest.Wait()
					}
					time.Sleep(time.Second)
					died := time.Now()
					if how == "marker" {
						if got := post(t, s, chatPath, chatWith("[[sim:die]]")); got.Code != http.StatusInternalServerError {
							t.Errorf("the one that kills it is answered %d", got.Code)
						}
					} else if got := post(t, s, "/sim/engine", `{"dead":true}`); got.Code != http.StatusOK {
						t.Errorf("POST /sim/engine is answered %d: %s", got.Code, got.Body)
					}
					const cause = `{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.","type":"InternalServerError","param":null,"code":500}}`
					want := map[string]int{"stream=false 500 " + cause: 2, "stream=true 200 data: " + cause + " data: [DONE]": 2}
					for range 4 {
						got := <-answers
						if want[got]--; want[got] < 0 {
							t.Errorf("unexpected answer %s", got)
						}
					}
					if got := time.Since(died); got != 0 {
						t.Errorf("answered %s after the death, want at once", got)
					}
					if got := get(t, s, "/health").Code; got != http.StatusServiceUnavailable {
						t.Errorf("/health answers %d", got)
					}
					if got := post(t, s, chatPath, chatWith("later")); got.Code != http.StatusInternalServerError {
						t.Errorf("a later request is answered %d: %s", got.Code, got.Body)
					}
					if got := (<-exited).Sub(died); got != 3*time.Second {
						t.Errorf("exits after %s, want 3s", got)
					}
					if got := s.Stats(); got.Finished != 0 || got.Aborted != 0 || got.Faulted < 5 || got.Waiting != 0 {
						t.Errorf("at last %+v", got)
					}
				})
			})
		}
	}
}

// TestFreeze checks that a hanging engine appears healthy, and that its counters do not
// change.
func TestFreeze(t *testing.T) {
	for name, config := range modes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vllmsim.New(config(func(c *vllmsim.Config) { c.Models = []string{`org/"a"`, "sim"} }))
				client := serve(t, s)
				ended := make(chan string, 2)
				for _, body := range []string{chatWith("[[sim:tokens=20]]"), streamed(chatWith("[[sim:tokens=20]]"))} {
					go func() {
						_, text, err := exchange(t.Context(), client, chatPath, body)
						if err != nil {
							text = err.Error()
						}
						ended <- text
					}()
				}
				time.Sleep(50 * time.Millisecond)
				if got := post(t, s, "/sim/engine", `{"frozen":true}`); got.Code != http.StatusOK {
					t.Fatalf("POST /sim/engine is answered %d: %s", got.Code, got.Body)
				}
				families(t, s) // counts the steps up to now
				before := families(t, s)
				time.Sleep(time.Hour)
				after := families(t, s)
				for _, counter := range []string{"vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:iteration_tokens_total_count"} {
					if before[counter] != after[counter] {
						t.Errorf("%s went from %v to %v", counter, before[counter], after[counter])
					}
				}
				if got := after["vllm:num_requests_running"]; got != 2 {
					t.Errorf("%v requests run, want 2", got)
				}
				if got := get(t, s, "/health").Code; got != http.StatusOK || len(ended) != 0 {
					t.Errorf("/health answers %d, %d requests ended", got, len(ended))
				}
				post(t, s, "/sim/engine", `{"frozen":false}`)
				for range 2 {
					if got := <-ended; !strings.Contains(got, `"finish_reason":"stop"`) {
						t.Errorf("answered %s", got)
					}
				}
			})
		})
	}
}

func TestFreezeMarker(t *testing.T) {
	for name, config := range modes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vllmsim.New(config(nil))
				defer s.Close()
				start := time.Now()
				if got := post(t, s, chatPath, chatWith("[[sim:freeze=1m]]")); got.Code != http.StatusOK {
					t.Errorf("status %d: %s", got.Code, got.Body)
				}
				if got := time.Since(start); got < time.Minute || got > time.Minute+time.Second {
					t.Errorf("took %s, want a minute and an answer's time", got)
				}
			})
		})
	}
}

// Capacity can be changed while requests run and wait.
func TestChangeCapacity(t *testing.T) {
	for name, config := range modes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := vllmsim.New(config(func(c *vllmsim.Config) { c.MaxNumSeqs = 2 }))
				defer s.Close()
				ended := make(chan int, 6)
				for range 6 {
					go func() { ended <- post(t, s, chatPath, chatWith("[[sim:tokens=100]]")).Code }()
				}
				running := func(want int64) {
					t.Helper()
					time.Sleep(200 * time.Millisecond)
					if got := s.Stats(); got.Running != want {
						t.Errorf("%d run, want %d", got.Running, want)
					}
				}
				running(2)
				post(t, s, "/sim/engine", `{"max_num_seqs":4}`)
				running(4)
				post(t, s, "/sim/engine", `{"max_num_seqs":1}`)
				time.Sleep(time.Second)
				running(1)
				for range 6 {
					if code := <-ended; code != http.StatusOK {
						t.Errorf("status %d", code)
					}
				}
			})
		})
	}
}

func TestSimEngineRoute(t *testing.T) {
	withEngine, without := vllmsim.New(gpu(nil)), vllmsim.New(simple(nil))
	defer withEngine.Close()
	defer without.Close()
	for _, test := range []struct {
		s    *vllmsim.Server
		body string
		code int
		say  string
	}{
		{withEngine, `{"speed":2,"max_num_seqs":8}`, 200, `{"max_num_seqs":8,"frozen":false,"dead":false,"speed":2,`},
		{withEngine, `{"speed":0}`, 400, "speed must be above 0, got 0"},
		{withEngine, `{"max_num_seqs":0}`, 400, "max_num_seqs must be at least 1, got 0"},
		{withEngine, `{"max_seqs":1}`, 400, "unknown field"},
		{withEngine, `{"dead":false}`, 400, "a dead engine cannot be changed"},
		{without, `{"speed":2}`, 400, "speed needs a server with an engine"},
		{without, `{"max_num_seqs":8}`, 200, `{"max_num_seqs":8,"frozen":false,"dead":false}`},
	} {
		got := post(t, test.s, "/sim/engine", test.body)
		if got.Code != test.code || !strings.Contains(got.Body.String(), test.say) {
			t.Errorf("%s is answered %d %s, want %d %s", test.body, got.Code, got.Body, test.code, test.say)
		}
	}
	if got := get(t, withEngine, "/sim/engine").Body; !strings.Contains(got.String(), `"max_num_seqs":8`) {
		t.Errorf("GET /sim/engine answers %s", got)
	}
}

// The limit on unfinished requests holds without an engine, too.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := vllmsim.New(simple(func(c *vllmsim.Config) { c.MaxNumSeqs, c.MaxQueuedReqs = 1, 2 }))
		client := serve(t, s)
		ended := make(chan error, 2)
		for range 2 {
			go func() {
				_, _, err := exchange(t.Context(), client, chatPath, chatWith("x"))
				ended <- err
			}()
		}
		time.Sleep(time.Millisecond)
		resp, err := send(t.Context(), client, chatPath, streamed(chatWith("y")))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "The engine is currently busy") {
			t.Errorf("a third is answered %d %s, %v", resp.StatusCode, text, err)
		}
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
