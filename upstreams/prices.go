package upstreams

import "fmt"

// setOutcome records why a window of models had no result; "" if it had one.
func (b *priceBook) setOutcome(models []string, why windowOutcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.outcomes == nil {
		b.outcomes = make(map[string]windowOutcome)
	}
	for _, model := range models {
		if why == "" {
			delete(b.outcomes, model)
		} else if _, known := b.outcomes[model]; known || len(b.outcomes) < priceModels {
			b.outcomes[model] = why
		}
	}
}

// Prices returns the price of batch for each model, in the order of Models. It is
// empty if the price is not measured.
func (p *Pool) Prices() []Price {
	s := p.now.Load()
	if s.cfg.BatchPrice < 0 {
		return nil
	}
	prices := make([]Price, 0, len(s.list))
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	for i := range s.list {
		model := s.list[i].ID
		price := Price{Slots: 1}
		if at := p.book.models[model]; at != nil {
			price = at.price
			price.Slots = at.slots()
		}
		price.Model = model
		price.Reason = price.missing(p.book.outcomes[model])
		prices = append(prices, price)
	}
	return prices
}

// missing returns why a part of the price is not known, "" if all of it is known.
func (p *Price) missing(last windowOutcome) string {
	ttft, itl := &p.TTFT, &p.ITL
	switch {
	case ttft.P50 != nil && itl.P50 != nil && ttft.P99 != nil && itl.P99 != nil:
		return ""
	case ttft.P50 != nil && itl.P50 != nil:
		return fmt.Sprintf("the 99th percentile needs %d samples without batch", p99Samples)
	case ttft.P50 == nil && last != "":
		return string(last)
	case p.Windows == 0:
		return "no interval without batch lines has ended yet"
	case p.Windows < priceWindows:
		return fmt.Sprintf("%d of %d windows without batch so far", p.Windows, priceWindows)
	default:
		return fmt.Sprintf("%d of %d live streams without batch so far", min(ttft.SamplesWithout, ttft.SamplesWith, itl.SamplesWithout, itl.SamplesWith), p50Samples)
	}
}
