package caddymodule

import (
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/upstreams"
)

// BudgetConfig limits the price of batch, by one of the two.
type BudgetConfig struct {
	// Part limits the increase of the time to first token and of the inter-token
	// latency relative to the values without batch, such as 0.1.
	Part float64 `json:"part,omitempty"`
	// Time limits the increase of the time to first token.
	Time caddy.Duration `json:"time,omitempty"`
}

func (b BudgetConfig) config() upstreams.BudgetConfig {
	return upstreams.BudgetConfig{Part: b.Part, Time: duration(b.Time)}
}

// longestBudget limits BudgetConfig.Time.
const longestBudget = 10 * time.Minute

// budget parses a ratio such as 10% or a duration such as 20ms.
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

// batchPriceOff is the PoolConfig.BatchPrice that disables the measurement.
const batchPriceOff = -1

// batchPrice parses the part of the time for measuring the price, or "off".
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
