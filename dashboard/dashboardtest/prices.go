package dashboardtest

import "github.com/tidegate/tidegate/upstreams"

// prices returns the prices of two models, one of them measured.
func prices() []upstreams.Price {
	return []upstreams.Price{
		{
			Model: "tide-7b", Windows: 41, Slots: 1,
			TTFT: upstreams.PriceOf{
				SamplesWith: 21_408, SamplesWithout: 412,
				P50: &upstreams.Difference{With: .206, Without: .2, Difference: .006, Low: .002, High: .0098},
				P99: &upstreams.Difference{With: .71, Without: .69, Difference: .02, Low: -.004, High: .061},
			},
			ITL: upstreams.PriceOf{
				SamplesWith: 981_204, SamplesWithout: 18_032,
				P50: &upstreams.Difference{With: .0094, Without: .009, Difference: .0004, Low: .0002, High: .0006},
				P99: &upstreams.Difference{With: .042, Without: .012, Difference: .03, Low: .021, High: .04},
			},
		},
		{Model: "tide-70b", Windows: 2, Slots: 1, Reason: "2 of 8 windows without batch so far"},
	}
}
