package upstreams

import (
	"fmt"
	"math"
	"strings"
)

// String returns a line that describes the price, or why it is not known.
func (p Price) String() string {
	if p.TTFT.P50 == nil {
		return "not measured yet: " + p.Reason
	}
	text := "batch costs live " + p.TTFT.P50.text() + " to the first token at p50 " + p.TTFT.P50.range95()
	if p.TTFT.P99 != nil {
		text += ", " + p.TTFT.P99.text() + " at p99"
	}
	if p.ITL.P50 != nil {
		text += "; " + p.ITL.P50.text() + " between tokens at p50 " + p.ITL.P50.range95()
		if p.ITL.P99 != nil {
			text += ", " + p.ITL.P99.text() + " at p99"
		}
	}
	if p.Slots < 1 {
		text += fmt.Sprintf("; batch_budget leaves batches %.0f %% of their slots", 100*p.Slots)
	}
	return text
}

func (d *Difference) text() string { return signedMS(d.Difference) + " ms" }

// range95 formats the relative difference and the confidence interval.
func (d *Difference) range95() string {
	percent := math.Round(100 * d.Relative())
	text := fmt.Sprintf("(%+.0f %%; 95 %% between %s and %s ms", percent+0, signedMS(d.Low), signedMS(d.High))
	if !d.Significant() {
		text += ", perhaps chance"
	}
	return text + ")"
}

// signedMS formats a time in milliseconds with its sign.
func signedMS(seconds float64) string {
	ms := 1e3 * seconds
	text := fmt.Sprintf("%+.0f", ms)
	if math.Abs(ms) < 9.95 {
		text = fmt.Sprintf("%+.1f", ms)
	}
	if strings.Trim(text, "+-0.") == "" {
		return "0"
	}
	return text
}
