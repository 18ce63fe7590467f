package upstreams

import "github.com/prometheus/client_golang/prometheus"

var (
	priceLabels      = []string{"model", "metric", "quantile"}
	descPrice        = prometheus.NewDesc("tidegate_batch_price_seconds", "Additional time of a live stream while batch lines run on its server: until the first token (ttft), between tokens (itl).", priceLabels, nil)
	descPriceLow     = prometheus.NewDesc("tidegate_batch_price_low_seconds", "Lower bound of the price, with a confidence of 95 %.", priceLabels, nil)
	descPriceHigh    = prometheus.NewDesc("tidegate_batch_price_high_seconds", "Upper bound of the price, with a confidence of 95 %.", priceLabels, nil)
	descPriceSamples = prometheus.NewDesc("tidegate_batch_price_samples", "Samples of the last 3 hours from which the price is measured.", []string{"model", "metric", "batch"}, nil)
	descPriceWindows = prometheus.NewDesc("tidegate_batch_price_windows", "Intervals without batch lines in the last 3 hours from which the price is measured.", []string{"model"}, nil)
	descBudget       = prometheus.NewDesc("tidegate_batch_budget_ratio", "Part of the batch slots that batch_budget allows.", []string{"model"}, nil)
	descHours        = prometheus.NewDesc("tidegate_batch_hours_ratio", "Part of the batch slots that may be used at this time of day.", nil, nil)
)

var priceDescs = []*prometheus.Desc{descPrice, descPriceLow, descPriceHigh, descPriceSamples, descPriceWindows, descBudget, descHours}

// collectPrices collects the metrics of the price of batch.
func (p *Pool) collectPrices(gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	now, _ := p.BatchHours()
	gauge(descHours, now.Share)
	prices := p.Prices()
	label := p.metrics.labeller(len(prices))
	for _, price := range prices {
		if label(price.Model) != price.Model {
			continue // prices of several models have no sum
		}
		gauge(descPriceWindows, float64(price.Windows), price.Model)
		gauge(descBudget, price.Slots, price.Model)
		for _, of := range []struct {
			metric string
			PriceOf
		}{{"ttft", price.TTFT}, {"itl", price.ITL}} {
			gauge(descPriceSamples, float64(of.SamplesWith), price.Model, of.metric, "with")
			gauge(descPriceSamples, float64(of.SamplesWithout), price.Model, of.metric, "without")
			for quantile, d := range map[string]*Difference{"0.5": of.P50, "0.99": of.P99} {
				if d == nil {
					continue
				}
				gauge(descPrice, d.Difference, price.Model, of.metric, quantile)
				gauge(descPriceLow, d.Low, price.Model, of.metric, quantile)
				gauge(descPriceHigh, d.High, price.Model, of.metric, quantile)
			}
		}
	}
}
