package upstreams

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// BudgetConfig limits by how much batch may slow down live streams, at the median. At
// most one field is set; the zero value is no limit.
type BudgetConfig struct {
	// Part limits the increase of the time to first token and of the inter-token
	// latency, each relative to the value without batch, as in 0.1.
	Part float64
	// Time limits the increase of the time to first token.
	Time time.Duration
}

func (b BudgetConfig) none() bool { return b.Part <= 0 && b.Time <= 0 }

func (b BudgetConfig) validate() error {
	switch {
	case !(b.Part >= 0 && b.Part <= MaxBudgetPart):
		return fmt.Errorf("batch_budget: %v must be from 0 to %d", b.Part, MaxBudgetPart)
	case b.Time < 0:
		return fmt.Errorf("batch_budget: %s must not be negative", b.Time)
	case b.Part > 0 && b.Time > 0:
		return errors.New("batch_budget: specify either a ratio or a duration")
	}
	return nil
}

// MaxBudgetPart is the largest BudgetConfig.Part.
const MaxBudgetPart = 100

// spent returns the price relative to the budget, and whether it is statistically
// significant. ok is false when the price is not known.
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
	// BudgetLeast is the minimum part of its slots that a server keeps for batch
	// lines.
	BudgetLeast = 0.1
	// budgetFall limits each reduction, budgetSure is the minimum reduction, and
	// budgetRise is the factor of each increase.
	budgetFall = 0.5
	budgetSure = 0.9
	budgetRise = 1.1
	// budgetSlack is the part of the budget below which the slots are increased.
	budgetSlack = 0.8
)

// throttle returns the part of the slots at which the price is expected to meet the
// budget, given the price at the current part. It uses the estimate and not a bound
// of its confidence interval: the upper bound would throttle batch only because few
// windows were measured, the lower bound would let the price exceed the budget until
// many were. Slots are reduced only for a statistically significant price; until
// then, more windows are measured.
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

// updatePrice recomputes the price of a model after a window, and the slots that the
// budget allows.
func (b *priceBook) updatePrice(model string, budget BudgetConfig) {
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

	// Pairs measured with another part of the slots do not show the price at this one.
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

// slots returns the part of the slots that the budget allows.
func (m *modelBook) slots() float64 {
	if m.part == 0 {
		return 1
	}
	return m.part
}

// applyBudget sets the part of the slots of every server: the minimum over its
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
