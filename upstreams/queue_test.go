package upstreams

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Twelve requests on a server of four: four run, the rest wait in order, and what
// does not fit into the queue is refused.
func TestQueueOfLiveRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{QueueSize: 6, QueueTimeout: time.Minute}, 4)
		var all []*request
		for i := range 10 {
			all = append(all, w.send(fmt.Sprint(i), "k"))
		}
		w.wantArrived("0", "1", "2", "3")
		time.Sleep(3 * time.Second)
		w.wantQueue(QueueStatus{Model: model, Class: "live", Waiting: 6, Oldest: 3})
		for range 2 {
			w.send("refused", "k").wantRefused(t, http.StatusTooManyRequests, "rate_limit_exceeded")
		}
		if got := statusOf(t, w.Pool, "http://s0:80"); got.LiveInFlight != 4 || got.LiveLimit != 4 {
			t.Errorf("%d live requests in flight and a limit of %d, want 4 and 4", got.LiveInFlight, got.LiveLimit)
		}
		w.answer(answerJSON)
		w.answer(answerJSON)
		w.wantArrived("0", "1", "2", "3", "4", "5")
		w.finish()
		w.wantArrived("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
		for _, q := range all {
			q.wantOK(t)
		}
		for i, d := range w.done {
			var want time.Duration
			if d.Status == http.StatusOK && i >= 2+4 {
				want = 3 * time.Second
			}
			if d.Queued != want {
				t.Errorf("request %d with status %d waited %s, want %s", i, d.Status, d.Queued, want)
			}
		}
		counts := &w.now.Load().models[model].record.queues[Live]
		if counts.queued.Load() != 6 || counts.full.Load() != 2 || counts.timedOut.Load() != 0 || counts.left.Load() != 0 {
			t.Errorf("%d queued, %d full, %d late, %d left; want 6, 2, 0, 0", counts.queued.Load(), counts.full.Load(), counts.timedOut.Load(), counts.left.Load())
		}
	})
}

// Among API keys the queue is fair; of one key, requests are served as they came.
func TestQueueIsFairAmongKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		w.send("first", "a")
		for _, name := range []string{"a1", "a2", "a3", "a4", "b1", "b2", "c1", "-1"} {
			w.send(name, strings.Trim(name[:1], "-"))
		}
		w.finish()
		w.wantArrived("first", "a1", "b1", "c1", "-1", "a2", "b2", "a3", "a4")
	})
}

// TestQueueOfMessages checks that Anthropic's clients are recognized by their header, and
// refused with Anthropic's envelope.
func TestQueueOfMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{QueueSize: 1}, 1)
		const path = "/v1/messages"
		w.sendBody("1", "k", path, chatBody(model))
		w.sendBody("2", "k", path, chatBody(model))
		q := w.sendBody("3", "k", path, chatBody(model))
		<-q.ended
		if q.out.Code != http.StatusTooManyRequests || !strings.Contains(q.out.Body.String(), `"type":"rate_limit_error"`) || q.out.Header().Get("Retry-After") == "" {
			t.Errorf("status %d, Retry-After %q: %s", q.out.Code, q.out.Header().Get("Retry-After"), q.out.Body)
		}
		w.finish()
	})
}

// What does not go through the server's engine waits for no live slot.
func TestTokenizeDoesNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		w.send("chat", "k")
		w.send("waits", "k")
		for _, path := range []string{"/tokenize", "/detokenize", "/v1/messages/count_tokens"} {
			w.sendBody(path, "k", path, chatBody(model))
		}
		w.wantArrived("chat", "/tokenize", "/detokenize", "/v1/messages/count_tokens")
		w.finish()
	})
}

func TestQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{QueueTimeout: 10 * time.Second}, 1)
		w.send("runs", "k")
		late := w.send("late", "k")
		time.Sleep(5 * time.Second)
		other := w.send("other", "k")
		time.Sleep(6 * time.Second)
		late.wantRefused(t, http.StatusTooManyRequests, "rate_limit_exceeded")
		w.wantQueue(QueueStatus{Model: model, Class: "live", Waiting: 1, Oldest: 6})
		w.answer(answerJSON)
		w.answer(answerJSON)
		other.wantOK(t)
		w.wantEmpty()
		if n := w.now.Load().models[model].record.queues[Live].timedOut.Load(); n != 1 {
			t.Errorf("%d requests are counted as late, want 1", n)
		}
	})
}

// A client that leaves leaves the queue at once, and its place goes to the next.
func TestClientLeavesQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{QueueSize: 2}, 1)
		w.send("runs", "k")
		leaves := w.send("leaves", "k")
		w.send("stays", "k")
		leaves.cancel()
		<-leaves.ended
		synctest.Wait()
		w.wantQueue(QueueStatus{Model: model, Class: "live", Waiting: 1})
		if leaves.out.Code != statusClientGone {
			t.Errorf("status %d, want %d", leaves.out.Code, statusClientGone)
		}
		w.send("comes", "k")
		w.finish()
		w.wantArrived("runs", "stays", "comes")
		if n := w.now.Load().models[model].record.queues[Live].left.Load(); n != 1 {
			t.Errorf("%d clients are counted as left, want 1", n)
		}
	})
}

// When all servers of the model go down, those who wait are answered as without a
// queue.
func TestServersDieWhileRequestsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		runs := w.send("runs", "k")
		waits := w.send("waits", "k")
		w.markDown(w.now.Load().upstreams[0], errRefused)
		synctest.Wait()
		waits.wantRefused(t, http.StatusServiceUnavailable, "")
		w.finish()
		runs.wantOK(t)
	})
}

// A server that comes up, a drain that ends and limits that grow serve those who
// wait, in order.
func TestQueueIsServedWhenThePoolChanges(t *testing.T) {
	configured := func(seqs ...int) Config {
		cfg := Config{HealthInterval: time.Hour, ModelsInterval: time.Hour}
		for i, n := range seqs {
			cfg.Upstreams = append(cfg.Upstreams, UpstreamConfig{URL: fmt.Sprintf("http://s%d:80", i), MaxNumSeqs: n})
		}
		return cfg
	}
	tests := []struct {
		name   string
		change func(w *queueWorld)
		want   []string // that arrive
	}{
		{"a server is added", func(w *queueWorld) { w.start("s2:80"); w.reload(configured(1, 1, 2)) }, []string{"3", "4"}},
		{"the limit is raised", func(w *queueWorld) { w.reload(configured(3, 1)) }, []string{"3", "4"}},
		{"the limit is dropped", func(w *queueWorld) { w.reload(configured(1, 0)) }, []string{"3", "4", "5", "6"}},
		{"the queue is switched off", func(w *queueWorld) {
			cfg := configured(1, 1)
			cfg.QueueSize = NoQueue
			w.reload(cfg)
		}, []string{"3", "4", "5", "6"}},
		{"a drain ends", func(w *queueWorld) { w.drain("http://s1:80", false) }, []string{"3"}},
		{"other gateways have less", func(w *queueWorld) { w.SetPeers(every(1), map[string]Load{}) }, nil},
		{"the capacity that was found is raised", func(w *queueWorld) {
			w.now.Load().upstreams[0].capacity.Store(1)
			w.reload(configured(0, 1))
			synctest.Wait()
			w.now.Load().upstreams[0].capacity.Store(2)
			w.released()
		}, []string{"3", "4", "5"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newQueueWorld(t, Config{}, 1, 1)
				if test.name == "a drain ends" {
					w.drain("http://s1:80", true)
					w.send("1", "k")
				} else {
					w.send("1", "k")
					w.send("2", "k")
				}
				before := []string{"1"}
				if len(w.arrived) == 2 {
					before = []string{"1", "2"}
				}
				for _, name := range []string{"3", "4", "5", "6"} {
					w.send(name, "k")
				}
				w.wantArrived(before...)
				test.change(w)
				synctest.Wait()
				if got := slices.Sorted(slices.Values(w.arrived)); !slices.Equal(got, append(before, test.want...)) {
					t.Errorf("arrived at servers: %q, want %q and then %q", got, before, test.want)
				}
				w.finish()
			})
		})
	}
}

// A request that a server fails comes back to the front of the queue, before those
// that came later, and does not go to that server again.
func TestRetriedRequestKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{QueueSize: 2}, 1, 1)
		w.send("1", "a")
		w.send("2", "a")
		w.send("3", "a")
		w.send("4", "b") // the queue is full
		failed := w.answer(answerStatus(http.StatusTooManyRequests, "application/json", `{"error":{"message":"full"}}`))
		if failed != "1" {
			t.Fatalf("%s was first, want 1", failed)
		}
		// Its server got the next one, and it waits for the other server.
		w.wantArrived("1", "2", "3")
		w.wantQueue(QueueStatus{Model: model, Class: "live", Waiting: 2})
		if next := w.answer(answerJSON); next != "2" {
			t.Fatalf("%s was next, want 2", next)
		}
		w.wantArrived("1", "2", "3", "1")
		w.finish()
		w.wantArrived("1", "2", "3", "1", "4")
		if d := w.done[len(w.done)-1]; d.Status != http.StatusOK {
			t.Errorf("status %d, want 200", d.Status)
		}
	})
}

// balancerFunc is a Balancer.
type balancerFunc func(among []*Candidate, q *Query) *Candidate

func (f balancerFunc) Choose(among []*Candidate, q *Query) *Candidate { return f(among, q) }

// TestRetriedRequestIsNotOvertaken finds a queue in which a later request takes a slot that
// becomes free while the queue is examined, after the retried request before it was refused.
func TestRetriedRequestIsNotOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var race func(chosen *Candidate)
		balancer := balancerFunc(func(among []*Candidate, q *Query) *Candidate {
			c := LeastWork{}.Choose(among, q)
			if f := race; f != nil {
				race = nil
				f(c)
			}
			return c
		})
		w := newQueueWorld(t, Config{Balancer: balancer}, 1, 1)
		w.send("1", "a")
		w.send("2", "a")
		w.send("3", "a")
		w.send("4", "b")
		w.answer(answerStatus(http.StatusTooManyRequests, "application/json", `{"error":{"message":"full"}}`))
		w.wantArrived("1", "2", "3") // 1 waits for the server of 2
		var taken, freed *upstream
		w.mu.Lock()
		w.held[0], w.held[1] = w.held[1], w.held[0] // 3 ends first
		w.mu.Unlock()
		race = func(chosen *Candidate) { // 4 would get the server of 3
			taken = chosen.upstream
			for _, u := range w.now.Load().upstreams {
				if u != taken {
					freed = u
				}
			}
			taken.begin()
			freed.end()
		}
		w.answer(answerJSON)
		if freed == nil {
			t.Fatal("no server was chosen")
		}
		w.wantArrived("1", "2", "3", "1")
		if reserved := taken.pace.live.Load(); reserved != 0 {
			t.Errorf("%d tokens are pending on the server without a request, want 0", reserved)
		}
		freed.begin() // of 2, which has not ended
		taken.end()
		w.finish()
		w.wantArrived("1", "2", "3", "1", "4")
		for _, u := range w.now.Load().upstreams {
			if n := u.pace.live.Load(); n != 0 {
				t.Errorf("%d tokens are pending on %s at the end, want 0", n, u.url)
			}
		}
	})
}

// A suspected server gets its trial from a request that waits.
func TestWaitingRequestIsATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1, 1)
		w.send("1", "k")
		w.send("2", "k")
		suspect := w.now.Load().upstreams[0]
		if w.held[0].server != "s0:80" {
			suspect = w.now.Load().upstreams[1]
		}
		w.answer(answerStatus(http.StatusBadGateway, "text/html", `no`)) // of 1, which waits for the other server
		w.send("3", "k")
		if !suspect.suspect.Load() {
			t.Fatal("the server is not suspect")
		}
		w.wantArrived("1", "2")
		time.Sleep(trialDelayMin)
		synctest.Wait()
		w.wantArrived("1", "2", "3")
		w.mu.Lock()
		trial := w.held[len(w.held)-1]
		w.held = w.held[:len(w.held)-1]
		w.mu.Unlock()
		trial.answer <- answerJSON
		synctest.Wait()
		if suspect.suspect.Load() {
			t.Error("the server is suspect after a good answer")
		}
		w.finish()
	})
}

// Models that share a server take turns.
func TestModelsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		u := w.now.Load().upstreams[0]
		w.addModel(u, "adapter")
		w.send("runs", "k")
		for _, name := range []string{"m1", "m2", "m3"} {
			w.send(name, "k")
		}
		w.sendBody("a1", "k", endpoint, chatBody("adapter"))
		w.sendBody("a2", "k", endpoint, chatBody("adapter"))
		w.finish()
		w.wantArrived("runs", "m1", "a1", "m2", "a2", "m3")
	})
}

// A request for a model that no other waits for does not overtake those for
// another model on the same server.
func TestOtherModelDoesNotOvertake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		u := w.now.Load().upstreams[0]
		w.addModel(u, "adapter")
		w.send("runs", "k")
		w.send("waits", "k")
		u.end() // and nothing that waits has looked yet
		s := w.now.Load()
		comes := &ticket{query: &Query{Model: "adapter"}, whole: true}
		if c, full := w.admit(s, comes); c != nil || !full {
			t.Fatalf("a request got %v (%v) without a look at those that wait", c, full)
		}
		l, c, err := w.enqueue(comes, s.models["adapter"].record, 1, time.Now())
		if l == nil || c != nil || err != nil {
			t.Errorf("it got %v, %v, want a place in the queue", c, err)
		}
		synctest.Wait()
		w.wantArrived("runs", "waits")
		if _, err := w.abandonWait(t.Context(), l, comes, time.Now()); err == nil {
			t.Error("it was not refused")
		}
		u.begin() // what ended early above
		w.finish()
	})
}

// Flex requests that wait keep no live request from a free live slot.
func TestLiveIsAdmittedBesideFlexThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{BatchShare: 0.25}, 4)
		w.sendBody("flex1", "k", endpoint, flexBody)
		w.sendBody("flex2", "k", endpoint, flexBody)
		w.wantQueue(QueueStatus{Model: model, Class: "flex", Waiting: 1})
		w.queue.mu.Lock() // as it is not needed
		w.send("live", "k")
		w.queue.mu.Unlock()
		w.wantArrived("flex1", "live")
		w.finish()
	})
}

// TestLeavingReturnsReservation checks that a client that leaves after its request was
// dispatched, and before the request is sent, leaves no pending prompt behind.
func TestLeavingReturnsReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 1)
		w.send("runs", "k")
		u, s := w.now.Load().upstreams[0], w.now.Load()
		before := u.pace.live.Load()
		leaves := &ticket{query: &Query{Model: model, Bytes: 4000, Tokens: 1000}, whole: true}
		l, c, err := w.enqueue(leaves, s.models[model].record, 1, time.Now())
		if l == nil || c != nil || err != nil {
			t.Fatalf("got %v, %v, want a place in the queue", c, err)
		}
		w.answer(answerJSON)
		synctest.Wait()
		w.dispatchQueued()
		if got := u.pace.live.Load() - before; leaves.assigned == nil || got <= 0 {
			t.Fatalf("got %v with %d pending tokens, want a server with some", leaves.assigned, got)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := w.abandonWait(gone, l, leaves, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		live, _ := u.counts()
		if got := u.pace.live.Load(); got != 0 || live != 0 {
			t.Errorf("got %d pending tokens and %d live requests, want none", got, live)
		}
	})
}
