package gateway

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// finished returns the number of requests that each server answered.
func finished(t *testing.T, sims []*tidegatetest.Sim) []int64 {
	t.Helper()
	n := make([]int64, len(sims))
	for i, s := range sims {
		n[i] = s.Stats(t).Finished
	}
	return n
}

// TestSessionStaysOnItsServer checks that the requests of a session go to one server,
// that sessions are spread over all servers, and that a header and a field are read.
func TestSessionStaysOnItsServer(t *testing.T) {
	const sessions, requests = 24, 3
	for name, test := range map[string]struct {
		balancer string
		set      func(r *http.Request, session string)
		body     func(session string, i int) string
	}{
		"header": {
			"session header X-Session-Id",
			func(r *http.Request, session string) { r.Header.Set("X-Session-Id", session) },
			func(_ string, i int) string {
				return fmt.Sprintf(`{"model":"sim","messages":[{"role":"user","content":"Question %d?"}]}`, i)
			},
		},
		"field": {
			"session field user",
			func(*http.Request, string) {},
			func(session string, i int) string {
				return fmt.Sprintf(`{"model":"sim","user":%q,"messages":[{"role":"user","content":"Question %d?"}]}`, session, i)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sims := tidegatetest.StartSims(t, 3)
			gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Pool: "balancer " + test.balancer})
			used := make([]int, len(sims))
			for s := range sessions {
				session := fmt.Sprint("session ", s)
				before := finished(t, sims)
				for i := range requests {
					request, err := gateway.Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", []byte(test.body(session, i)))
					if err != nil {
						t.Fatal(err)
					}
					test.set(request, session)
					response, err := http.DefaultClient.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					response.Body.Close()
					if response.StatusCode != http.StatusOK {
						t.Fatalf("got status %d, want 200", response.StatusCode)
					}
				}
				after := finished(t, sims)
				homes := 0
				for i := range sims {
					if after[i] > before[i] {
						homes++
						used[i]++
					}
				}
				if homes != 1 {
					t.Errorf("%s was served by %d servers, want 1 (before %v, after %v)", session, homes, before, after)
				}
			}
			for i, n := range used {
				if n == 0 {
					t.Errorf("server %d got no session of %d: %v", i, sessions, used)
				}
			}
		})
	}
}

// TestBalancerReplaced checks that a reload replaces the balancer and that no live
// request is lost or answered twice meanwhile.
func TestBalancerReplaced(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 3, "--ttft", "50ms", "--itl", "2ms")
	settings := func(balancer string) tidegatetest.Settings {
		return tidegatetest.Settings{Sims: sims, Pool: "balancer " + balancer}
	}
	gateway := tidegatetest.Run(t, settings("session field model")) // one session for all
	load := gateway.StartLoad(t, 50, mixed(t))
	load.WaitEnded(t, 20)
	for _, balancer := range []string{"least_load", "prefix_hash", "least_work", "round_robin"} {
		gateway.Reload(t, settings(balancer))
		load.WaitEnded(t, 20)
	}
	sent := load.Stop()
	for _, s := range sent {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
	}
	wantOnce(t, len(sent), sims...)

	// Round robin spreads requests that are sent one at a time exactly.
	before := finished(t, sims)
	for i := range 9 {
		if l := gateway.Chat(t.Context(), tidegatetest.ChatBody(t, fmt.Sprint("Question ", i, "?"), false), nil); l.Status != http.StatusOK {
			t.Errorf("got status %d, want 200: %+v", l.Status, l)
		}
	}
	for i, after := range finished(t, sims) {
		if got := after - before[i]; got != 3 {
			t.Errorf("server %d got %d of 9 requests, want 3", i, got)
		}
	}
}
