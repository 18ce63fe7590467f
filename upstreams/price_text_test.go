package upstreams

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

func TestPriceText(t *testing.T) {
	known := Price{Slots: 0.5, TTFT: PriceOf{
		P50: &Difference{With: .206, Without: .2, Difference: .006, Low: -.002, High: .0149},
		P99: &Difference{With: .6, Without: .58, Difference: .02},
	}, ITL: PriceOf{P50: &Difference{With: .0094, Without: .01, Difference: -.0006, Low: -.0008, High: -.00001}}}
	for _, c := range []struct {
		price Price
		want  string
	}{
		{known, "batch costs live +6.0 ms to the first token at p50 (+3 %; 95 % between -2.0 and +15 ms, perhaps chance), +20 ms at p99; -0.6 ms between tokens at p50 (-6 %; 95 % between -0.8 and 0 ms); batch_budget leaves batches 50 % of their slots"},
		{Price{Slots: 1, Reason: "no batch runs"}, "not measured yet: no batch runs"},
	} {
		if got := c.price.String(); got != c.want {
			t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
		}
	}
}

func TestPriceMissing(t *testing.T) {
	d := &Difference{}
	for _, c := range []struct {
		price Price
		last  windowOutcome
		want  string
	}{
		{Price{}, "", "no interval without batch lines has ended yet"},
		{Price{}, outcomeNoLive, "no live requests come"},
		{Price{Windows: 3}, "", "3 of 8 windows without batch so far"},
		{Price{Windows: 9, TTFT: PriceOf{SamplesWith: 900, SamplesWithout: 12}, ITL: PriceOf{SamplesWith: 900, SamplesWithout: 90}}, "", "12 of 30 live streams without batch so far"},
		{Price{Windows: 9, TTFT: PriceOf{P50: d}, ITL: PriceOf{P50: d}}, outcomeNoLive, "the 99th percentile needs 400 samples without batch"},
		{Price{Windows: 90, TTFT: PriceOf{P50: d, P99: d}, ITL: PriceOf{P50: d, P99: d}}, "", ""},
	} {
		if got := c.price.missing(c.last); got != c.want {
			t.Errorf("%+v, last window %q: got %q, want %q", c.price, c.last, got, c.want)
		}
	}
}

// Metrics have what is known of the price, its bounds and how many samples it has.
func TestPriceMetrics(t *testing.T) {
	p := NewPool(zap.NewNop())
	if err := p.Apply(Config{Upstreams: []UpstreamConfig{{URL: "http://a"}}}); err != nil {
		t.Fatal(err)
	}
	p.RecallModels(map[string]string{"http://a": `[{"id":"m"}]`})
	p.book.models = map[string]*modelBook{"m": {part: 0.5, price: Price{Windows: 9, TTFT: PriceOf{
		SamplesWith: 90, SamplesWithout: 40, P50: &Difference{Difference: .006, Low: .002, High: .01},
	}}}}
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(p.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			key := f.GetName()
			for _, l := range m.Label {
				key += " " + l.GetValue()
			}
			got[key] = m.GetGauge().GetValue()
		}
	}
	for key, want := range map[string]float64{
		"tidegate_batch_hours_ratio":                   1,
		"tidegate_batch_budget_ratio m":                0.5,
		"tidegate_batch_price_windows m":               9,
		"tidegate_batch_price_samples with ttft m":     90,
		"tidegate_batch_price_samples without ttft m":  40,
		"tidegate_batch_price_seconds ttft m 0.5":      .006,
		"tidegate_batch_price_low_seconds ttft m 0.5":  .002,
		"tidegate_batch_price_high_seconds ttft m 0.5": .01,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s: got %v (%v), want %v", key, value, ok, want)
		}
	}
	if _, ok := got["tidegate_batch_price_seconds ttft m 0.99"]; ok {
		t.Error("there is a price at p99, which is not known")
	}
}

// Memory is bounded: old windows, servers that are gone and models beyond the bound
// are forgotten.
func TestPriceBookForgets(t *testing.T) {
	var b priceBook
	here, gone := &upstream{}, &upstream{}
	add := func(u *upstream) {
		for side := range 2 {
			b.add(u, "m", priceTTFT, side == 1, 1, 0.1)
		}
		if got := b.close(u, true); len(got) != 1 {
			t.Fatalf("got %v, want the model", got)
		}
	}
	for range pricePairs + 10 {
		add(here)
	}
	add(gone)
	b.models["m"].since = 12
	b.models["m"].pairs[11].at = time.Now().Add(-priceMemory - time.Minute)
	b.forget(map[*upstream]bool{here: true}, time.Now())
	if m := b.models["m"]; len(m.pairs) != pricePairs-1 || m.since != 1 {
		t.Errorf("got %d windows, %d of them before the last change, want %d and 1", len(m.pairs), m.since, pricePairs-1)
	}
	for i := range 2 * priceModels {
		b.add(here, string(rune('a'+i)), priceTTFT, true, 1, 0.1)
	}
	if len(b.models) != priceModels {
		t.Errorf("got %d models, want %d", len(b.models), priceModels)
	}
	b.forget(nil, time.Now())
	if len(b.models) != 0 {
		t.Errorf("got %d models after all servers went, want none", len(b.models))
	}
	var r reservoir
	for range 10_000 {
		r.add(priceSample{})
	}
	if r.n != 10_000 || len(r.kept) != reservoirSize {
		t.Errorf("got %d of %d samples kept, want %d", len(r.kept), r.n, reservoirSize)
	}
}
