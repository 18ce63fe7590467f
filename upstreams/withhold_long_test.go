//go:build !race

package upstreams

import (
	"testing"
	"testing/synctest"
	"time"
)

// Without a price none is found.
func TestNoPrice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openBubble(t, Config{BatchPrice: 0.1}, 300*time.Millisecond, &shop{ttft: 100 * time.Millisecond, itl: 10 * time.Millisecond, line: time.Second})
		defer b.close()
		time.Sleep(20 * time.Minute)
		p := b.pool.Prices()[0]
		if p.TTFT.P50 == nil || !near(p.TTFT.P50.Difference, 0, 0.004) || p.TTFT.P50.Low > 0.002 {
			t.Errorf("TTFT: got %+v, want about 0", p.TTFT.P50)
		}
		if p.ITL.P50 == nil || !near(p.ITL.P50.Difference, 0, 0.0003) {
			t.Errorf("ITL: got %+v, want about 0", p.ITL.P50)
		}
	})
}

// TestPriceNotMeasured checks that without a measurement there is a reason, and that batch work
// continues.
func TestPriceNotMeasured(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		line time.Duration
		gap  time.Duration
		busy bool // other gateways have lines there
		want string
	}{
		{"no live requests", Config{}, time.Second, 0, false, string(outcomeNoLive)},
		{"long lines", Config{}, 2 * time.Minute, time.Second, false, "lines of batches take longer than 30s to end"},
		{"no batch at these hours", Config{Hours: HoursConfig{Ranges: []HoursRange{{"Mon-Sun", 0}}}}, time.Second, time.Second, false, string(outcomeNoBatch)},
		{"other gateways", Config{}, time.Second, time.Second, true, string(outcomeOthers)},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shop{ttft: 100 * time.Millisecond, itl: 10 * time.Millisecond, line: c.line}
				b := openBubble(t, c.cfg, c.gap, s)
				defer b.close()
				if c.busy {
					b.pool.SetPeers(every(1), map[string]Load{"http://s0:1": {Batch: 1}})
				}
				time.Sleep(20 * time.Minute)
				p := b.pool.Prices()[0]
				if p.TTFT.P50 != nil || p.Reason != c.want {
					t.Errorf("got %+v with reason %q, want reason %q", p.TTFT.P50, p.Reason, c.want)
				}
			})
		})
	}
}

// Nothing is withheld where the price is not to be measured, and a reload begins or
// ends that.
func TestPriceOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{ttft: 100 * time.Millisecond, itl: 10 * time.Millisecond, line: time.Second}
		b := openBubble(t, Config{BatchPrice: -1}, time.Second, s)
		defer b.close()
		time.Sleep(20 * time.Minute)
		s.mu.Lock()
		longest := s.longest
		s.mu.Unlock()
		if longest > time.Second || b.pool.Prices() != nil {
			t.Errorf("off: got %s without a line and prices %+v, want none", longest, b.pool.Prices())
		}
		cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://s0:1", MaxNumSeqs: 8}}, BatchPrice: 0.1}
		if err := b.pool.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		if p := b.pool.Prices(); len(p) != 1 || p[0].TTFT.P50 == nil {
			t.Errorf("on after a reload: got %+v, want a price", p)
		}
	})
}

// TestBatchBudget checks that a budget removes slots until the price is within it, and that
// they return when the budget is removed.
func TestBatchBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{ttft: 100 * time.Millisecond, moreTTFT: 50 * time.Millisecond, itl: 10 * time.Millisecond, line: time.Second / 2}
		b := openBubble(t, Config{BatchPrice: 0.1, BatchBudget: BudgetConfig{Time: 20 * time.Millisecond}}, 200*time.Millisecond, s)
		defer b.close()
		time.Sleep(50 * time.Minute)
		p := b.pool.Prices()[0]
		u := b.pool.now.Load().upstreams[0]
		t.Logf("%+v, %+v", p, p.TTFT.P50)
		if p.Slots > 0.7 || p.Slots < 0.2 || !near(u.budget.part(), p.Slots, 1e-6) {
			t.Errorf("a price of 50 ms, budget 20 ms: got %v of the slots, %v of the server's, want less", p.Slots, u.budget.part())
		}
		cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://s0:1", MaxNumSeqs: 8}}, BatchPrice: 0.1}
		if err := b.pool.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := b.pool.Prices()[0].Slots; got != 1 || u.budget.part() != 1 {
			t.Errorf("without a budget: got %v of the slots, want all", got)
		}
	})
}
