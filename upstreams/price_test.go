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
