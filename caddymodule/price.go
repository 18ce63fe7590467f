package caddymodule

import (
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/upstreams"
)

// BudgetConfig is how much batch may cost live requests: one of the two.
type BudgetConfig struct {
	// Part bounds time to first token and inter-token latency, as a part of what
	// they are without batch: 0.1.
	Part float64 `json:"part,omitempty"`
	// Time bounds how much longer the time to first token is.
	Time caddy.Duration `json:"time,omitempty"`
}

func (b BudgetConfig) config() upstreams.BudgetConfig {
	return upstreams.BudgetConfig{Part: b.Part, Time: duration(b.Time)}
}

// longestBudget bounds BudgetConfig.Time.
const longestBudget = 10 * time.Minute

// budget reads a part such as 10% or a time such as 20ms.
func budget(to *BudgetConfig) option {
	return parsed(to, "a part such as 10% or a duration such as 20ms", func(s string) (b BudgetConfig, err error) {
		if percent, is := strings.CutSuffix(s, "%"); is {
			n, err := strconv.ParseFloat(percent, 64)
			if err == nil && !(n > 0 && n <= 100*upstreams.MaxBudgetPart) { // NaN is refused too
				err = strconv.ErrRange
			}
			return BudgetConfig{Part: n / 100}, err
		}
		b.Time, err = parseSpan(s, longestBudget)
		return b, err
	})
}

// batchPriceOff is PoolConfig.BatchPrice for a price that is not measured.
const batchPriceOff = -1

// batchPrice reads the part of the time that measuring the price may take, or "off".
func batchPrice(to *float64) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		value, err := argument(d)
		if err != nil {
			return err
		}
		if value == "off" {
			*to = batchPriceOff
			return nil
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n >= upstreams.MinBatchPrice && n <= upstreams.MaxBatchPrice) { // NaN is refused too
			return d.Errf(`%s must be a part of the time from %g to %g, or "off", not %q`, word, upstreams.MinBatchPrice, upstreams.MaxBatchPrice, value)
		}
		*to = n
		return nil
	}
}
