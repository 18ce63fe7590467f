package doctor

import (
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/upstreams"
)

// prices reports the price of batch for each model.
func (d *Doctor) prices() []Check {
	prices := d.Pool.Prices()
	checks := make([]Check, 0, len(prices))
	for _, p := range prices {
		c := Check{Area: Upstreams, Name: p.Model + ": price of batch", Verdict: Passed, Found: p.String(), Model: p.Model}
		if p.TTFT.P50 == nil {
			c.Verdict = Unknown
		}
		if p.Slots <= upstreams.BudgetLeast {
			c.Verdict = Doubted
			c.Remedy = "The price is above batch_budget with the fewest slots that it may leave: raise batch_budget, or add servers."
		}
		checks = append(checks, c)
	}
	return checks
}

// hours reports the share of their slots that batches may use now.
func (d *Doctor) hours() []Check {
	now, ok := d.Pool.BatchHours()
	if !ok {
		return nil
	}
	const layout = "Mon 15:04 MST"
	found := []string{fmt.Sprintf("batches may use %.0f %% of their slots", 100*now.Share)}
	if now.Share == 0 {
		found[0] = "batches wait"
	}
	if !now.Until.IsZero() {
		found = append(found, "until "+now.Until.Format(layout), fmt.Sprintf("then %.0f %%", 100*now.Next))
	}
	c := Check{Area: Gateway, Name: "hours of batches", Verdict: Passed, Found: strings.Join(found, ", ")}
	if now.Share == 0 && now.Until.IsZero() {
		c.Verdict, c.Remedy = Doubted, "No batch ever runs: the hours leave them no slot at any time."
	}
	return []Check{c}
}
