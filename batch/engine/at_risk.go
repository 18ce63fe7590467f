package engine

import (
	"context"
	"sort"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// AtRisk is a batch that will miss its deadline at the current rate.
type AtRisk struct {
	batch.Batch
	Why RiskReason
}

// RiskReason is why a batch will miss its deadline.
type RiskReason string

// The reasons why batches miss their deadlines.
const (
	RiskSlow    RiskReason = "slow"    // its lines end, but not quickly enough
	RiskWaiting RiskReason = "waiting" // too much of its model goes before it
	RiskStalled RiskReason = "still"   // no line of its model has ended in the last minute
	RiskPaused  RiskReason = "paused"
	RiskClosed  RiskReason = "closed" // no batch runs at this time of day until after the deadline
)

// The time before a deadline from which a batch without a known rate is at risk. A stalled
// batch may continue at any time, and a client may have paused one on purpose.
const (
	stalledMargin = 15 * time.Minute
	pausedMargin  = time.Hour
)

// BatchesAtRisk returns which of a tenant's batches that are InProgress will miss
// their deadlines, in the order in which they are served, as of the last look at the
// backlog. It returns ErrUnavailable if there is no recent one.
func (r *Reads) BatchesAtRisk(ctx context.Context, tenant string) ([]AtRisk, error) {
	v := r.backlog.look(ctx)
	if v == nil {
		return nil, errNoLook
	}
	var own []AtRisk
	for _, l := range v.atRisk {
		if l.Tenant == tenant {
			own = append(own, l)
		}
	}
	return own, nil
}

// closedAtRisk finds the batches whose deadline is before batches run again. Nothing
// is known of the others' rates while none runs.
func closedAtRisk(active []batch.Batch, c batch.Closing) (late []AtRisk) {
	for _, b := range active {
		if b.PausedAt.IsZero() && (c.Until.IsZero() || b.ExpiresAt.Before(c.Until)) {
			late = append(late, AtRisk{b, RiskClosed})
		}
	}
	return late
}

// atRiskOf returns the batches that will miss their deadlines. The batches in active are
// those of all tenants, in the order in which they are served, paused ones last. A batch
// whose lines have ended for rateSpan or longer is assumed to keep its rate. Any other
// batch is assumed to run at the speed of its model after the batches before it. While
// that speed is unknown, the lines of the model that ended in the last minute stand for
// it. Models do not share servers, so each has its own queue; batches of several models
// count as one model.
func atRiskOf(active []batch.Batch, pace []batch.Pace, speeds map[string]speed, now time.Time) (late []AtRisk) {
	estimates, rates := ratesOf(active, pace, now)
	measured := make(map[string]bool) // models with a batch that has run for rateSpan
	for _, b := range active {
		if now.Sub(b.InProgressAt) >= rateSpan {
			measured[b.Model] = true
		}
	}
	queues := make(map[string]*queued) // by model
	for i, b := range active {
		q := queues[b.Model]
		if q == nil {
			q = new(queued)
			queues[b.Model] = q
		}
		before := q.before(b)
		if b.PausedAt.IsZero() {
			q.add(b)
		}
		r := modelRate{speed: rates[b.Model], moves: rates[b.Model] > 0}
		if s, known := speeds[b.Model]; known {
			r.speed = s.perMinute
		} else if !measured[b.Model] {
			r.speed = 0
		}
		if why := riskOf(b, estimates[i], before, r, now); why != "" {
			late = append(late, AtRisk{b, why})
		}
	}
	return late
}

// ratesOf returns the estimate of each batch, and how many lines of a model ended
// in the last minute, on all gateways.
func ratesOf(active []batch.Batch, pace []batch.Pace, now time.Time) (estimates []Estimate, rates map[string]float64) {
	minutes := make(map[string][]batch.Minute) // by batch
	for _, p := range pace {
		minutes[p.BatchID] = append(minutes[p.BatchID], p.Minute)
	}
	estimates = make([]Estimate, len(active))
	rates = make(map[string]float64)
	known := make(map[string]bool) // batches whose rate is among them
	for i, b := range active {
		estimates[i] = estimate(b, minutes[b.ID], now)
		if rate := estimates[i].LinesPerMinute; rate != nil {
			rates[b.Model] += *rate
			known[b.ID] = true
		}
	}
	for _, p := range pace { // of batches that are over, or have just begun
		if !known[p.BatchID] {
			rates[p.Model] += shareOf(p.Minute, now) * float64(p.Completed+p.Failed)
		}
	}
	return estimates, rates
}

// queued are the batches of a model that are not paused, in the order in which
// they are served, with the lines left up to each.
type queued struct {
	batches []batch.Batch
	lines   []int64
}

func (q *queued) add(b batch.Batch) {
	q.lines = append(q.lines, q.before(b)+b.Left())
	q.batches = append(q.batches, b)
}

// before returns how many lines are left in the batches that are served before b.
func (q *queued) before(b batch.Batch) int64 {
	n := sort.Search(len(q.batches), func(i int) bool { return !goesBefore(q.batches[i], b) })
	if n == 0 {
		return 0
	}
	return q.lines[n-1]
}

// goesBefore reports whether one batch is served before another that is not paused,
// or would not be.
func goesBefore(a, b batch.Batch) bool {
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	return !a.ExpiresAt.After(b.ExpiresAt)
}

// modelRate is the rate at which lines of a model end.
type modelRate struct {
	speed float64 // in a minute, while there are lines to send; 0: not known
	moves bool    // some ended in the last minute
}

// riskOf returns why a batch will be late, "" if it will not. before counts the lines of
// its model that are served before its own.
func riskOf(b batch.Batch, e Estimate, before int64, rate modelRate, now time.Time) RiskReason {
	left := b.ExpiresAt.Sub(now)
	tooMuch := rate.speed > 0 && float64(before+b.Left())/rate.speed > left.Minutes()
	switch {
	case !b.PausedAt.IsZero():
		if tooMuch || left < pausedMargin {
			return RiskPaused
		}
	case e.MissesDeadline != nil:
		if *e.MissesDeadline {
			return RiskSlow
		}
	case tooMuch:
		return RiskWaiting
	case left <= 0:
		return RiskSlow
	case !rate.moves && left < stalledMargin && now.Sub(b.InProgressAt) >= rateSpan:
		return RiskStalled
	}
	return ""
}
