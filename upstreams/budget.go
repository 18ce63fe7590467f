package upstreams

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// BudgetConfig is how much batch may cost live streams, at the median. One of the
// two is set; the zero value is no bound.
type BudgetConfig struct {
	// Part bounds the time to first token and the inter-token latency, each as a
	// part of the time without batch, as in 0.1.
	Part float64
	// Time bounds by how much the time to first token is longer.
	Time time.Duration
}

func (b BudgetConfig) none() bool { return b.Part <= 0 && b.Time <= 0 }

func (b BudgetConfig) validate() error {
	switch {
	case !(b.Part >= 0 && b.Part <= MaxBudgetPart):
		return fmt.Errorf("batch_budget: %v is not from 0 to %d", b.Part, MaxBudgetPart)
	case b.Time < 0:
		return fmt.Errorf("batch_budget: %s is negative", b.Time)
	case b.Part > 0 && b.Time > 0:
		return errors.New("batch_budget: it is either a part or a time")
	}
	return nil
}

// MaxBudgetPart is the largest BudgetConfig.Part.
const MaxBudgetPart = 100

// spent is the price as a part of the budget, and how sure it is that there is one.
// ok is false when it is not known.
func (b BudgetConfig) spent(ttft, itl *Difference) (part float64, significant, ok bool) {
	if ttft == nil {
		return 0, false, false
	}
	if b.Part <= 0 {
		return ttft.Difference / b.Time.Seconds(), ttft.Low > 0, true
	}
	part, significant = ttft.Relative()/b.Part, ttft.Low > 0
	if itl != nil {
		if r := itl.Relative() / b.Part; r > part {
			part, significant = r, itl.Low > 0
		}
	}
	return part, significant, true
}

const (
	// BudgetLeast is the least part of its slots that a server keeps for batch lines.
	BudgetLeast = 0.1
	// budgetFall bounds how much is taken at a time, budgetSure is how much is taken
	// at least, and budgetRise is how much is given back.
	budgetFall = 0.5
	budgetSure = 0.9
	budgetRise = 1.1
	// budgetSlack is the part of the budget below which slots are given back.
	budgetSlack = 0.8
)

// throttle is the part of the slots at which the price is within the budget, as far
// as this part and the price at it tell. It goes by the estimate and not by a bound
// of its interval: the upper one would throttle batch because windows are few, the lower
// one would let the price be above the budget for as long as few were measured. But
// it takes slots only for a price that is more than chance, and more windows come
// until that is known.
func (b BudgetConfig) throttle(part, spent float64, significant bool) float64 {
	switch {
	case spent > 1 && significant:
		return max(BudgetLeast, part*min(max(1/spent, budgetFall), budgetSure))
	case spent < budgetSlack:
		return min(1, part*budgetRise)
	default:
		return part
	}
}

// work works out the price of a model after a window, and what the budget leaves.
func (b *priceBook) work(model string, budget BudgetConfig) {
	b.mu.Lock()
	at := b.models[model]
	if at == nil {
		b.mu.Unlock()
		return
	}
	pairs := slices.Clone(at.pairs)
	since := pairs[min(at.since, len(pairs)):]
	part := at.slots()
	b.mu.Unlock()

	// What was measured with another part of the slots is not the price at this one.
	price := pricesOf(since)
	if price.TTFT.P50 == nil && len(since) < len(pairs) {
		price = pricesOf(pairs)
	}
	next := part
	if budget.none() {
		next = 1
	} else if price.Windows == len(since) {
		if spent, significant, ok := budget.spent(price.TTFT.P50, price.ITL.P50); ok {
			next = budget.throttle(part, spent, significant)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at.price = price
	if next != part {
		at.part = next
		at.since = len(at.pairs)
		clear(at.now)
	}
}

func pricesOf(pairs []*pricePair) Price {
	return Price{Windows: len(pairs), TTFT: priceOf(pairs, priceTTFT), ITL: priceOf(pairs, priceITL)}
}

// slots is the part of the slots that the budget leaves.
func (m *modelBook) slots() float64 {
	if m.part == 0 {
		return 1
	}
	return m.part
}

// applyBudget sets for every server the least part that the budget leaves to one of its
// models. mu is held.
func (p *Pool) applyBudget() {
	budget := p.cfg.BatchBudget
	parts := make(map[string]float64)
	p.book.mu.Lock()
	for model, at := range p.book.models {
		if budget.none() {
			at.part = 0
		}
		parts[model] = at.slots()
	}
	p.book.mu.Unlock()
	for _, u := range p.upstreams {
		part := 1.0
		for i := range u.models {
			if of, known := parts[u.models[i].ID]; known {
				part = min(part, of)
			}
		}
		u.budget.set(part)
	}
}
