package upstreams

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
)

// What other gateways have in flight counts as if it were our own.
func TestPeersCount(t *testing.T) {
	f, h := newFake(t), newFake(t)
	cfg := calm(f.URL, h.URL)
	p := startPool(t, cfg)
	p.SetPeers(every(2), map[string]Load{f.URL: {Live: 3, Batch: 2}})
	q := &Query{Class: Live, Model: model}
	for range 4 { // h has 0 to 3 in flight, f has 5
		c := p.now.Load().choose(p.now.Load().models[model], q, nil)
		if c.URL != h.URL {
			t.Fatalf("chose %s", c.URL)
		}
		c.begin()
		defer c.end()
	}
	if loads := p.Loads(); len(loads) != 1 || loads[h.URL] != (Load{Live: 4}) {
		t.Errorf("loads %v", loads)
	}
	if s := statusOf(t, p, f.URL); s.OthersInFlight != 5 {
		t.Errorf("status %+v", s)
	}
	// They are gone: nothing is left of them.
	p.SetPeers(every(0), nil)
	if c := p.now.Load().choose(p.now.Load().models[model], q, nil); c.URL != f.URL {
		t.Errorf("chose %s", c.URL)
	}
}

// Three gateways that know of each other take a third each, and none takes what
// live requests of others fill.
func TestPeersShare(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	cfg.Upstreams[0].MaxNumSeqs = 12
	cfg.BatchShare = .75
	p := startPool(t, cfg)
	take := func(want int) (slots []*Slot) {
		t.Helper()
		for {
			s, err := p.Reserve(model, "")
			if errors.Is(err, ErrBusy) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			slots = append(slots, s)
		}
		if len(slots) != want {
			t.Errorf("took %d slots, want %d", len(slots), want)
		}
		return slots
	}
	release := func(slots []*Slot) {
		for _, s := range slots {
			s.Release()
		}
	}
	release(take(9))
	p.SetPeers(every(2), nil)
	mine := take(3)
	// One of them leaves: there is room, and waiters are notified.
	drained(p)
	if _, err := p.Reserve(model, ""); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	drained(p)
	p.SetPeers(every(1), nil)
	receive(t, "Freed", p.Freed())
	mine = append(mine, take(1)...)
	release(mine)
	p.SetPeers(every(1), map[string]Load{f.URL: {Live: 10}})
	release(take(2))
	p.SetPeers(every(1), map[string]Load{f.URL: {Live: 20}})
	take(0)
	drained(p)
	p.SetPeers(every(1), map[string]Load{f.URL: {Live: -5, Batch: 2}})
	receive(t, "Freed", p.Freed())
	release(take(4))
	wantIdle(t, p)
}

// The slots of a gateway are those of all servers, be they up or not, less what
// other gateways may take.
func TestSlots(t *testing.T) {
	cfg := calm("http://127.0.0.1:1", "http://127.0.0.1:2")
	cfg.Upstreams[0].MaxNumSeqs, cfg.Upstreams[1].MaxNumSeqs, cfg.BatchShare = 12, 24, .75
	p := NewPool(zap.NewNop())
	want := func(slots int) {
		t.Helper()
		if got := p.Slots(); got != slots {
			t.Errorf("%d slots, want %d", got, slots)
		}
	}
	want(0)
	for _, c := range []struct {
		servers, peers, slots int
	}{{2, 0, 27}, {2, 2, 9}, {1, 2, 3}, {1, 0, 9}} {
		now := cfg
		now.Upstreams = cfg.Upstreams[:c.servers]
		if err := p.Apply(now); err != nil {
			t.Fatal(err)
		}
		p.SetPeers(every(c.peers), nil)
		want(c.slots)
	}
}

// What was found for a server is shared out among the gateways, too: the first one
// to have work leaves the others their part.
func TestFoundLimitIsShared(t *testing.T) {
	f := newFake(t)
	p := probedPool(t, calm(f.URL))
	for _, c := range []struct {
		found int64
		peers int
		want  int
	}{{24, 2, 8}, {25, 2, 9}, {24, 0, 24}, {2, 3, 1}, {256, 2, 85}} {
		p.SetPeers(every(c.peers), map[string]Load{})
		p.upstreams[0].limit.Store(c.found)
		var taken []*Slot
		for {
			s, err := p.Reserve(model, "")
			if err != nil {
				break
			}
			taken = append(taken, s)
		}
		if n := len(taken); n != c.want {
			t.Errorf("%d of %d with %d peers, want %d", n, c.found, c.peers, c.want)
		}
		for _, s := range taken {
			s.Release()
		}
	}
}

// Others are idle while they leave half of a gateway's share free of batch
// lines, on servers that have room for these.
func TestOthersIdle(t *testing.T) {
	f, h := newFake(t), newFake(t)
	cfg := calm(f.URL, h.URL)
	cfg.Upstreams[0].MaxNumSeqs, cfg.Upstreams[1].MaxNumSeqs, cfg.BatchShare = 40, 40, .75
	p := probedPool(t, cfg) // 30 slots on each; 10 for each of three gateways
	for _, c := range []struct {
		name  string
		found int64 // how many requests each server should have, as was found
		peers int
		loads map[string]Load
		want  bool
	}{
		{"no peer", 40, 0, nil, false},
		{"nothing is known of them", 40, 2, nil, false},
		{"they have nothing", 40, 2, map[string]Load{}, true},
		{"all is taken", 40, 2, map[string]Load{f.URL: {Batch: 20}, h.URL: {Batch: 20}}, false},
		{"some is free", 40, 2, map[string]Load{f.URL: {Batch: 15}, h.URL: {Batch: 16}}, false},
		{"half of a share is free", 40, 2, map[string]Load{f.URL: {Batch: 15}, h.URL: {Batch: 15}}, true},
		{"one has nothing", 40, 2, map[string]Load{f.URL: {Batch: 10}, h.URL: {Batch: 10}}, true},
		{"live requests have it", 40, 2, map[string]Load{f.URL: {Batch: 10, Live: 30}, h.URL: {Batch: 10, Live: 30}}, false},
		{"more than their share", 40, 2, map[string]Load{f.URL: {Batch: 40}, h.URL: {Batch: 20}}, false},
		{"half of a share of what was found is free", 24, 2, map[string]Load{f.URL: {Batch: 12}, h.URL: {Batch: 12}}, true},
		{"less of what was found is free", 24, 2, map[string]Load{f.URL: {Batch: 12}, h.URL: {Batch: 13}}, false},
	} {
		for _, u := range p.upstreams {
			u.limit.Store(c.found)
		}
		p.SetPeers(every(c.peers), c.loads)
		if got := p.OthersIdle(model); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
		if p.OthersIdle("nope") {
			t.Errorf("%s: an unknown model", c.name)
		}
	}
}

// Only gateways that run lines divide what batches may take of a server.
func TestGatewaysWithoutLinesTakeNoShare(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	cfg.Upstreams[0].MaxNumSeqs, cfg.BatchShare = 12, .75
	p := startPool(t, cfg)
	for _, c := range []struct {
		peers Peers
		want  int
	}{
		{Peers{All: 8, Serving: 8}, 9},
		{Peers{All: 9, Serving: 8, Working: 1}, 4},
		{Peers{All: 2, Working: 2}, 3},
	} {
		p.SetPeers(c.peers, map[string]Load{})
		var taken []*Slot
		for {
			s, err := p.Reserve(model, "")
			if err != nil {
				break
			}
			taken = append(taken, s)
		}
		if len(taken) != c.want {
			t.Errorf("beside %+v: %d slots, want %d", c.peers, len(taken), c.want)
		}
		for _, s := range taken {
			s.Release()
		}
		if n := p.Peers(); n != c.peers.All {
			t.Errorf("%d other gateways, want %d", n, c.peers.All)
		}
	}
}

// every is n other gateways that serve live requests and run lines.
func every(n int) Peers { return Peers{All: n, Serving: n, Working: n} }

// TestPausesAreDivided checks that gateways with lines on a server divide its pauses, and
// that those without lines there, as far as that is known, do not count.
func TestPausesAreDivided(t *testing.T) {
	const own = 2 * 20 * time.Millisecond // a prompt, and the decoding beside it
	for name, tt := range map[string]struct {
		peers Peers
		loads map[string]Load
		want  time.Duration
	}{
		"alone":                       {Peers{}, map[string]Load{}, own},
		"another one without lines":   {Peers{All: 1, Serving: 1, Working: 1}, map[string]Load{"http://s": {Live: 9}}, own},
		"another one with lines":      {Peers{All: 1, Serving: 1, Working: 1}, map[string]Load{"http://s": {Batch: 1}}, 2 * own},
		"two, and one runs no lines":  {Peers{All: 2, Serving: 2, Working: 1}, map[string]Load{"http://s": {Batch: 3}}, 2 * own},
		"another one is not heard of": {Peers{All: 1, Serving: 1, Working: 1}, nil, 2 * own},
	} {
		p := NewPool(zap.NewNop())
		if err := p.Apply(Config{Upstreams: []UpstreamConfig{{URL: "http://s"}}}); err != nil {
			t.Fatal(err)
		}
		u := p.upstreams[0]
		u.pace.teach(time.Millisecond, 20*time.Millisecond, 20)
		p.SetPeers(tt.peers, tt.loads)
		p.sampleLoad(u)
		if got := time.Duration(u.pace.gap.Load()); got != tt.want {
			t.Errorf("%s: a pause of %v, want %v", name, got, tt.want)
		}
	}
}
