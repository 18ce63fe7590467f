package dashboard

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

func TestPrices(t *testing.T) {
	unknown := func(model string) upstreams.Price {
		return upstreams.Price{Model: model, Slots: 1, Reason: "no batch runs"}
	}
	known := unknown("k")
	known.TTFT.P50 = &upstreams.Difference{With: .11, Without: .1, Difference: .01, Low: .005, High: .015}
	const price = "batch costs live +10 ms to the first token at p50 (+10 %; 95 % between +5.0 and +15 ms)"
	for _, c := range []struct {
		name string
		all  []upstreams.Price
		want []templates.Price
		more int
	}{
		{"not measured at all", nil, nil, 0},
		{"one model", []upstreams.Price{unknown("u")}, []templates.Price{{Text: "not measured yet: no batch runs"}}, 0},
		{"known ones only", []upstreams.Price{unknown("u"), known}, []templates.Price{{Model: "k", Text: price}}, 1},
		{"many models", []upstreams.Price{known, known, known, known, known, unknown("u")}, []templates.Price{{Model: "k", Text: price}, {Model: "k", Text: price}, {Model: "k", Text: price}, {Model: "k", Text: price}}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, more := prices(c.all)
			if diff := cmp.Diff(c.want, got); diff != "" || more != c.more {
				t.Errorf("got %d more, want %d; -want +got:\n%s", more, c.more, diff)
			}
		})
	}
}
