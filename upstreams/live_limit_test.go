package upstreams

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
)

// Limits of live requests come from what is known, never from what is assumed.
func TestLiveLimit(t *testing.T) {
	tests := []struct {
		name                       string
		configured, told, capacity int
		off                        bool
		want                       int
	}{
		{name: "nothing is known"},
		{name: "configured", configured: 4, told: 8, capacity: 16, want: 4},
		{name: "told by the server", told: 8, capacity: 16, want: 8},
		{name: "a small capacity", capacity: 4, want: 6},
		{name: "a large capacity", capacity: 64, want: 72},
		{name: "switched off", configured: 4, told: 8, capacity: 16, off: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t)
			if test.told > 0 {
				set(&f.figures, func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprintf(w, "vllm:cache_config_info{engine=\"0\",num_gpu_blocks=\"10\"} 1\nvllm:vllm_config_info{scheduler_config_max_num_seqs=\"%d\"} 1\n", test.told)
				})
			}
			cfg := calm(f.URL)
			cfg.Upstreams[0].MaxNumSeqs = test.configured
			if test.off {
				cfg.QueueSize = NoQueue
			}
			p := startPool(t, cfg)
			p.now.Load().upstreams[0].capacity.Store(int64(test.capacity))
			until(t, fmt.Sprintf("the limit is %d", test.want), func() bool { return p.Status()[0].LiveLimit == test.want })
			if got := p.now.Load().models[model].up[0].liveLimit(); got != test.want {
				t.Errorf("live limit %d, want %d", got, test.want)
			}
		})
	}
}

// Each engine behind a server runs as many as the server tells.
func TestToldSeqsOfSeveralEngines(t *testing.T) {
	_, f := parseMetrics([]byte("vllm:cache_config_info{engine=\"0\"} 1\nvllm:cache_config_info{engine=\"1\"} 1\nvllm:vllm_config_info{scheduler_config_max_num_seqs=\"8\"} 1\n"))
	if got := f.seqs(); got != 16 {
		t.Errorf("%d requests at once, want 16", got)
	}
}

// A server without a known limit gets all requests at once, with any number running.
func TestUnknownServerIsNeverLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 0)
		var names []string
		for i := range 400 { // more than the 256 that are assumed for batch lines
			names = append(names, fmt.Sprint(i))
			w.send(names[i], "k")
		}
		w.wantArrived(names...)
		w.finish()
	})
}

// Batch lines take no live slots, but free servers come first.
func TestLiveGoesToFreeServersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{BatchShare: 1}, 2, 40)
		u := w.now.Load().models[model].up
		for i, batch := range []int{2, 20} {
			for range batch {
				u[i].load.Add(oneBatch)
			}
		}
		w.send("1", "k") // by load alone it would go to s0
		if got := w.held[0].server; got != "s1:80" {
			t.Errorf("the request went to %s, want s1:80, which has free live slots", got)
		}
		for range 20 {
			u[1].load.Add(oneBatch)
		}
		w.send("2", "k")
		w.send("3", "k")
		w.send("4", "k")
		if got := len(w.held); got != 4 {
			t.Errorf("%d requests run beside batch lines, want 4", got)
		}
		u[0].load.Add(^uint64(2*oneBatch - 1))
		u[1].load.Add(^uint64(40*oneBatch - 1))
		w.finish()
	})
}

// Gateways that only run lines have no part of the live slots for live requests.
func TestSeatsBesideGatewaysThatOnlyWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 4)
		w.SetPeers(Peers{All: 4, Serving: 1, Working: 4}, map[string]Load{"http://s0:80": {Live: 4}})
		for i := range 3 {
			w.send(fmt.Sprint(i), "k")
		}
		w.wantArrived("0", "1") // half of 4, not a fifth
		w.SetPeers(Peers{}, nil)
		synctest.Wait()
		w.wantArrived("0", "1", "2")
		w.finish()
	})
}

// What other gateways have in flight counts, and each gateway has its part.
func TestSeatsOfSeveralGateways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 4)
		w.SetPeers(every(1), map[string]Load{"http://s0:80": {Live: 1}})
		for i := range 5 {
			w.send(fmt.Sprint(i), "k")
		}
		w.wantArrived("0", "1", "2")
		w.SetPeers(every(1), map[string]Load{"http://s0:80": {Live: 4}}) // it overfilled
		w.answer(answerJSON)
		w.wantArrived("0", "1", "2") // two are this gateway's part
		w.answer(answerJSON)
		w.wantArrived("0", "1", "2", "3")
		w.SetPeers(every(1), map[string]Load{"http://s0:80": {Live: 2}})
		synctest.Wait()
		w.wantArrived("0", "1", "2", "3")
		w.SetPeers(every(0), nil) // the other one is gone
		synctest.Wait()
		w.wantArrived("0", "1", "2", "3", "4")
		w.finish()
	})
}

// A server that turns out to run more than was thought gets more requests from the
// queue bit by bit, and not all that wait.
func TestQueueFollowsCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newQueueWorld(t, Config{}, 0)
		u := w.now.Load().upstreams[0]
		w.learnCapacity(u, 8, 8)
		for i := range 40 {
			w.send(fmt.Sprint(i), "k")
		}
		for _, step := range []struct{ found, running, want int }{
			{8, 8, 10},   // two wait at the server
			{0, 10, 12},  // it runs them as well
			{0, 12, 14},  // and these
			{0, 11, 14},  // a request has just ended
			{16, 16, 18}, // it is found again
			{0, 18, 20},
		} {
			w.learnCapacity(u, step.found, step.running)
			synctest.Wait()
			if live, _ := u.counts(); live != step.want {
				t.Errorf("found %d, running %d: %d requests are at the server, want %d", step.found, step.running, live, step.want)
			}
		}
		w.finish()
		w.learnCapacity(u, 0, 1) // nothing waits: there is no need for a limit
		if got := u.capacity.Load(); got != 0 {
			t.Errorf("capacity %d after the queue was empty, want 0 for unknown", got)
		}
	})
}
