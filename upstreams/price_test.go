package upstreams

import (
	"math"
	"math/rand/v2"
	"testing"
)

// synthetic is a model server with known times: each window has a load that all of its
// streams share, the mix of prompt sizes differs between the sides, and batch adds a known
// time.
type synthetic struct {
	random  *rand.Rand
	price   float64 // seconds
	windows int
	streams int  // in a window
	mixed   bool // the prompts of the two sides differ in size
}

func (s *synthetic) pairs() []*pricePair {
	server := &upstream{}
	pairs := make([]*pricePair, s.windows)
	for i := range pairs {
		pairs[i] = &pricePair{server: server}
		load := 0.005 * s.random.NormFloat64()
		for side, n := range [2]int{s.streams, 8 * s.streams} {
			for range n {
				long := 0.3
				if s.mixed {
					long = [2]float64{0.7, 0.3}[side]
				}
				class, base := uint8(10), 0.1
				if s.random.Float64() < long {
					class, base = 14, 0.4
				}
				value := base + load + base*0.1*s.random.ExpFloat64() + float64(side)*s.price
				pairs[i].sides[side][priceTTFT].add(priceSample{float32(value), class})
			}
		}
	}
	return pairs
}

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

func TestPriceUnknown(t *testing.T) {
	few := synthetic{random: rand.New(rand.NewPCG(1, 1)), windows: priceWindows - 1, streams: 20}
	if p := priceOf(few.pairs(), priceTTFT); p.P50 != nil || p.SamplesWithout != 20*(priceWindows-1) {
		t.Errorf("of few windows: got %+v, want the count of samples alone", p)
	}
	thin := synthetic{random: rand.New(rand.NewPCG(1, 1)), windows: 10, streams: 2}
	if p := priceOf(thin.pairs(), priceTTFT); p.P50 != nil {
		t.Errorf("of 20 streams: got %+v, want nothing", p.P50)
	}
	some := synthetic{random: rand.New(rand.NewPCG(1, 1)), windows: 10, streams: 20}
	if p := priceOf(some.pairs(), priceTTFT); p.P50 == nil || p.P99 != nil {
		t.Errorf("of 200 streams: got p50 %v and p99 %v, want p50 alone", p.P50, p.P99)
	}
	// Two servers, each with samples of one side only, cannot be compared.
	apart := some.pairs()
	for i, p := range apart {
		p.server = &upstream{}
		p.sides[i%2] = [priceMetrics]reservoir{}
	}
	if p := priceOf(apart, priceTTFT); p.P50 != nil {
		t.Errorf("of servers that are not comparable: got %+v, want nothing", p.P50)
	}
	if p := priceOf(nil, priceITL); p.P50 != nil || p.SamplesWith != 0 {
		t.Errorf("of nothing: got %+v", p)
	}
}

func TestStudent(t *testing.T) {
	for freedom, want := range map[int]float64{7: 2.365, 10: 2.228, 30: 2.042, 1000: 1.962} {
		if got := student975(freedom); math.Abs(got-want) > 0.003 {
			t.Errorf("t of %d degrees of freedom: got %.3f, want %.3f", freedom, got, want)
		}
	}
}
