package upstreams

import (
	"errors"
	"testing"
)

// TestBatchSlotsAreWhatReserveGives checks that BatchSlots is the number of lines that Reserve
// admits, given live requests and lines of other gateways.
func TestBatchSlotsAreWhatReserveGives(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p *Pool, u *upstream)
		slots  int
	}{
		{"at the start", func(*Pool, *upstream) {}, limitStart},
		{"max_num_seqs", func(p *Pool, u *upstream) {
			p.Close() // a probe would find another limit
			u.limit.Store(1000)
		}, 48},
		{"live requests", func(_ *Pool, u *upstream) {
			for range 10 {
				u.begin()
			}
		}, limitStart - 10},
		{"more live requests than the limit", func(_ *Pool, u *upstream) {
			for range 2 * limitStart {
				u.begin()
			}
		}, 0},
		{"other gateways", func(_ *Pool, u *upstream) { u.others.Store(5 + 3*oneBatch) }, limitStart - 8},
		{"a full server", func(_ *Pool, u *upstream) { u.saturation.limit.Store(7) }, 7},
		{"drained", func(p *Pool, u *upstream) {
			if err := p.Drain(u.url); err != nil {
				panic(err)
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			cfg := calm(f.URL)
			cfg.Upstreams[0].MaxNumSeqs = 64
			p := startPool(t, cfg)
			c.change(p, p.now.Load().upstreams[0])
			if got := statusOf(t, p, f.URL).BatchSlots; got != c.slots {
				t.Errorf("%d slots, want %d", got, c.slots)
			}
			n := 0
			for {
				_, err := p.Reserve(model, "")
				if errors.Is(err, ErrBusy) || errors.Is(err, ErrDown) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if got := statusOf(t, p, f.URL); n != c.slots || got.BatchSlots != max(0, n) || got.BatchInFlight != n {
				t.Errorf("%d lines were let in, and the status is %+v; want %d", n, got, c.slots)
			}
		})
	}
}

// A max_num_seqs that is neither configured nor told is assumed, and said to be.
func TestAssumedMaxNumSeqs(t *testing.T) {
	f := newFake(t)
	cfg := calm(f.URL)
	p := startPool(t, cfg)
	if s := statusOf(t, p, f.URL); !s.MaxNumSeqsAssumed || s.MaxNumSeqs != 256 {
		t.Errorf("neither: %+v", s)
	}
	p.mu.Lock()
	p.upstreams[0].facts.MaxNumSeqs = 64
	p.mu.Unlock()
	if s := statusOf(t, p, f.URL); s.MaxNumSeqsAssumed {
		t.Errorf("told by the server: %+v", s)
	}
	p.mu.Lock()
	p.upstreams[0].facts.MaxNumSeqs = 0
	p.mu.Unlock()
	cfg.Upstreams[0].MaxNumSeqs = 256
	if err := p.Apply(cfg); err != nil {
		t.Fatal(err)
	}
	if s := statusOf(t, p, f.URL); s.MaxNumSeqsAssumed {
		t.Errorf("configured: %+v", s)
	}
}
