//go:build !race

package upstreams

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// The interval has the truth in it as often as it says, and an estimate is near it.
func TestPriceCoversTheTruth(t *testing.T) {
	const repetitions = 60
	for _, c := range []struct {
		name   string
		of     synthetic
		within float64 // of the truth, on average
		width  float64 // of the interval, on average, at most
	}{
		{"no price", synthetic{windows: 30, streams: 8}, 0.002, 0.012},
		{"no price, other prompts", synthetic{windows: 30, streams: 8, mixed: true}, 0.002, 0.012},
		{"20 ms", synthetic{price: 0.02, windows: 30, streams: 8}, 0.002, 0.012},
		{"20 ms, other prompts", synthetic{price: 0.02, windows: 30, streams: 8, mixed: true}, 0.002, 0.012},
		{"few windows", synthetic{price: 0.02, windows: priceWindows, streams: 6, mixed: true}, 0.003, 0.04},
		{"batch helps", synthetic{price: -0.02, windows: 20, streams: 8, mixed: true}, 0.002, 0.012},
	} {
		t.Run(c.name, func(t *testing.T) {
			covered, sum, width, significant := 0, 0.0, 0.0, 0
			for i := range repetitions {
				c.of.random = rand.New(rand.NewPCG(7, uint64(i)))
				p := priceOf(c.of.pairs(), priceTTFT)
				if p.P50 == nil {
					t.Fatalf("not measured: %+v", p)
				}
				d := *p.P50
				if d.Low <= c.of.price && c.of.price <= d.High {
					covered++
				}
				if d.Significant() {
					significant++
				}
				sum += d.Difference
				width += d.High - d.Low
			}
			if part := float64(covered) / repetitions; part < 0.9 {
				t.Errorf("the interval has the truth in it in %.1f %% of repetitions, want about 95", 100*part)
			}
			if mean := width / repetitions; mean > c.width {
				t.Errorf("the interval is %.4f wide, want %.4f at most", mean, c.width)
			}
			if mean := sum / repetitions; math.Abs(mean-c.of.price) > c.within {
				t.Errorf("the mean estimate is %.4f, want %.4f within %.4f", mean, c.of.price, c.within)
			}
			if part := float64(significant) / repetitions; c.of.price == 0 && part > 0.08 {
				t.Errorf("no price is called significant in %.1f %% of repetitions, want about 5", 100*part)
			}
			t.Logf("covered %.1f %%, significant %.1f %%, mean %.2f ms, width %.1f ms", 100*float64(covered)/repetitions, 100*float64(significant)/repetitions, 1e3*sum/repetitions, 1e3*width/repetitions)
		})
	}
}

// The price at the 99th percentile is that of stalls: batch lengthens every tenth
// time only.
func TestPriceAtP99(t *testing.T) {
	const repetitions, stall = 40, 0.1
	covered := 0
	for i := range repetitions {
		random := rand.New(rand.NewPCG(3, uint64(i)))
		server := &upstream{}
		var pairs []*pricePair
		for range 24 {
			p := &pricePair{server: server}
			for side := range p.sides {
				for range 40 {
					value := 0.010 + 0.001*random.NormFloat64()
					if side == 1 && random.IntN(10) == 0 {
						value += stall
					}
					p.sides[side][priceITL].add(priceSample{float32(value), 1})
				}
			}
			pairs = append(pairs, p)
		}
		p := priceOf(pairs, priceITL)
		if p.P99 == nil {
			t.Fatalf("not measured: %+v", p)
		}
		if math.Abs(p.P50.Difference) > 0.002 {
			t.Errorf("p50: got %v, want about 0", p.P50.Difference)
		}
		// The 90th of the hundred in a hundred that stalled, above the 99th of the others.
		if truth := stall - 0.001; p.P99.Low <= truth && truth <= p.P99.High {
			covered++
		}
	}
	if part := float64(covered) / repetitions; part < 0.9 {
		t.Errorf("the interval at p99 has the truth in it in %.1f %% of repetitions, want about 95", 100*part)
	}
}

// Batch is withheld from a server that is for live requests, for its part of the time,
// and the price that is measured is what the servers do.
func TestPriceIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shops := []*shop{
			{ttft: 100 * time.Millisecond, moreTTFT: 20 * time.Millisecond, itl: 10 * time.Millisecond, moreITL: 5 * time.Millisecond, line: time.Second},
			{ttft: 110 * time.Millisecond, moreTTFT: 20 * time.Millisecond, itl: 10 * time.Millisecond, moreITL: 5 * time.Millisecond, line: time.Second},
		}
		b := openBubble(t, Config{BatchPrice: 0.04}, 300*time.Millisecond, shops...)
		defer b.close()
		us := b.pool.now.Load().upstreams
		withheld := make([]int, len(us))
		const looks = 2 * 3600
		for range looks / 2 {
			time.Sleep(500 * time.Millisecond)
			n := 0
			for i, u := range us {
				if u.withheld.Load() {
					withheld[i]++
					n++
				}
			}
			if n > 1 {
				t.Fatal("batch is withheld from two servers at once")
			}
		}
		for i, n := range withheld {
			part := 2 * float64(n) / looks
			// A live request may get to another server, which has a window of 5 to 15 s then.
			if i == 0 && (part < 0.01 || part > 0.04) || i > 0 && part > 0.0075 {
				t.Errorf("server %d: batch is withheld for %.2f %% of the time, want 1 to 4 of the first server, where live requests are, and hardly any of others", i, 100*part)
			}
		}
		prices := b.pool.Prices()
		if len(prices) != 1 || prices[0].TTFT.P50 == nil || prices[0].ITL.P50 == nil {
			t.Fatalf("got %+v, want the price of one model", prices)
		}
		ttft, itl := *prices[0].TTFT.P50, *prices[0].ITL.P50
		t.Logf("%+v\nTTFT %+v\nITL %+v", prices[0], ttft, itl)
		if !near(ttft.Difference, 0.021, 0.008) || !ttft.Significant() {
			t.Errorf("TTFT: got %+v, want about 21 ms", ttft)
		}
		if !near(itl.Difference, 0.0053, 0.001) || !itl.Significant() {
			t.Errorf("ITL: got %+v, want about 5.3 ms", itl)
		}
	})
}
