package engine

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
)

// Demand is the backlog of batches that are Validating or InProgress, for an autoscaler.
type Demand struct {
	At time.Time // by the store's clock
	// Closed reports whether batches may not run at this time of day. ClosedUntil is the
	// end of that time; zero: it has none.
	Closed      bool
	ClosedUntil time.Time
	// Models are those with work, and those without whose speed is known; those with
	// the most lines first.
	Models []ModelDemand
}

// ModelDemand is the work for one model. Unknown values are nil. Lines of paused
// batches are in PausedLines alone. A batch of several models counts for each of them.
type ModelDemand struct {
	Model      string // "" for lines whose model is not known: see shares
	Batches    int64
	Validating int64 // of Batches, those that are not InProgress yet
	Lines      int64 // without a durable result, those in flight included
	InFlight   int64 // of Lines, those that a gateway has on a server
	// Tokens estimates the input and the output of Lines by lines that have ended.
	InputTokens, OutputTokens *int64

	PausedBatches, PausedLines int64

	Oldest time.Time // when the oldest of Batches was created; zero without one

	// LinesPerMinute is the rate of lines that ended, on all gateways, when lines flowed
	// last, up to MeasuredAt. See speedOf.
	LinesPerMinute *float64
	MeasuredAt     time.Time
	// Remaining is the time that Lines take at that rate.
	Remaining *time.Duration
	// DeadlineRatio is the time that the lines up to a deadline take over the time
	// until then, for the deadline where it is largest. Above 1 the rate does not
	// suffice.
	DeadlineRatio *float64
	AtRisk        int64 // batches that will miss their deadlines, paused ones included

	// Deadlines are sums of batches by when they are due, each with those before. A
	// step by which nothing more is due is left out.
	Deadlines []DeadlineDemand
}

// idle reports whether no batch has lines of the model.
func (m *ModelDemand) idle() bool { return m.Batches == 0 && m.PausedBatches == 0 }

// DeadlineDemand is the work of a model that is due Within a time from now.
type DeadlineDemand struct {
	Within                    time.Duration // 0: at any time
	Batches, Lines            int64
	InputTokens, OutputTokens *int64
	Remaining                 *time.Duration
}

// demandSteps are the Within of DeadlineDemand.
var demandSteps = []time.Duration{15 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 0}

// Demand returns the work that a tenant's batches have before them, at most backlogAge
// ago. It counts at most activeLimit batches that are InProgress, and as many that are
// Validating. It returns ErrUnavailable when it does not know it as of then, so that
// an autoscaler does not act on what was.
func (r *Reads) Demand(ctx context.Context, tenant string) (Demand, error) {
	v := r.backlog.fresh(ctx)
	if v == nil {
		return Demand{}, errNoLook
	}
	return v.demand(func(b *batch.Batch) bool { return b.Tenant == tenant }), nil
}

// share is the part of a batch that names one model.
type share struct {
	*batch.Batch
	model          string
	left, inFlight int64
}

// shares takes a batch apart by model. Lines are of the model "" where it is not
// known: of a batch whose lines are not counted yet, which has none here, of one of
// several models that an earlier version began, and of models beyond
// MaxInspectedModels.
func (v *view) shares(b *batch.Batch) []share {
	counted := v.models[b.ID]
	if b.Model != "" || len(counted) == 0 {
		left := b.Left()
		inFlight := int64(0)
		for _, n := range v.inFlight[b.ID] {
			inFlight += n
		}
		return []share{{b, b.Model, left, min(inFlight, left)}}
	}
	shares := make([]share, len(counted))
	sum := int64(0)
	for i, m := range counted {
		left := max(m.Lines-m.Done, 0)
		shares[i] = share{b, m.Model, left, min(v.inFlight[b.ID][m.Model], left)}
		sum += left
	}
	// Lines that a gateway of an earlier version did are not in Done.
	if left := b.Left(); b.Status == batch.InProgress && sum > left {
		for i := range shares {
			s := &shares[i]
			s.left = int64(float64(s.left) / float64(sum) * float64(left))
			s.inFlight = min(s.inFlight, s.left)
		}
	}
	return shares
}

// demand sums the batches that of chooses.
func (v *view) demand(of func(*batch.Batch) bool) Demand {
	d := Demand{At: v.now, Closed: v.closed, ClosedUntil: v.closing.Until}
	work := make(map[string][]share)
	paused := make(map[string]*ModelDemand)
	for _, batches := range [][]batch.Batch{v.active, v.waiting} {
		for i := range batches {
			b := &batches[i]
			if !of(b) {
				continue
			}
			for _, s := range v.shares(b) {
				if b.PausedAt.IsZero() {
					work[s.model] = append(work[s.model], s)
					continue
				}
				p := paused[s.model]
				if p == nil {
					p = new(ModelDemand)
					paused[s.model] = p
				}
				p.PausedBatches++
				p.PausedLines += s.left
			}
		}
	}
	late := make(map[string]int64)
	for i := range v.atRisk {
		b := &v.atRisk[i].Batch
		if !of(b) {
			continue
		}
		for _, s := range v.shares(b) {
			late[s.model]++
		}
	}
	for model := range paused {
		if work[model] == nil {
			work[model] = []share{}
		}
	}
	for model := range v.speeds {
		if work[model] == nil && model != "" { // "" sums models that have nothing to do with each other
			work[model] = []share{}
		}
	}
	for model, all := range work {
		m := v.modelDemand(model, all)
		if p := paused[model]; p != nil {
			m.PausedBatches, m.PausedLines = p.PausedBatches, p.PausedLines
		}
		m.AtRisk = late[model]
		d.Models = append(d.Models, m)
	}
	slices.SortFunc(d.Models, func(a, b ModelDemand) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Model, b.Model))
	})
	return d
}

// modelDemand sums what batches that are not paused have of a model.
func (v *view) modelDemand(model string, work []share) ModelDemand {
	slices.SortStableFunc(work, func(a, b share) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
	m := ModelDemand{Model: model}
	rate := 0.0
	if s, known := v.speeds[model]; known {
		rate, m.MeasuredAt, m.LinesPerMinute = s.perMinute, s.at, &s.perMinute
	}
	start := v.now // of what is begun now
	open := !v.closed
	if v.closed && v.closing.Until.After(start) {
		start, open = v.closing.Until, true
	}
	average := v.averageTokens(model, work)
	sum := tokenSum{known: true}
	add := func(s share) {
		m.Batches++
		if s.Status == batch.Validating {
			m.Validating++
		}
		m.Lines += s.left
		m.InFlight += s.inFlight
		if m.Oldest.IsZero() || s.CreatedAt.Before(m.Oldest) {
			m.Oldest = s.CreatedAt
		}
		sum.add(s.left, tokensPerLine(s.Batch), average)
		if rate > 0 && open {
			ratio := float64(m.Lines) / rate * 60 / max(s.ExpiresAt.Sub(start).Seconds(), 1)
			if m.DeadlineRatio == nil || ratio > *m.DeadlineRatio {
				m.DeadlineRatio = &ratio
			}
		}
	}
	next := 0
	for _, within := range demandSteps {
		before := next
		for next < len(work) && (within == 0 || work[next].ExpiresAt.Sub(v.now) <= within) {
			add(work[next])
			next++
		}
		if next == before {
			continue
		}
		d := DeadlineDemand{Within: within, Batches: m.Batches, Lines: m.Lines, Remaining: remaining(m.Lines, rate)}
		d.InputTokens, d.OutputTokens = sum.estimate()
		m.Deadlines = append(m.Deadlines, d)
	}
	m.InFlight = min(m.InFlight+v.others[model], m.Lines)
	m.InputTokens, m.OutputTokens = sum.estimate()
	m.Remaining = remaining(m.Lines, rate)
	return m
}

// maxRemaining bounds Remaining, which a Duration could not hold otherwise.
const maxRemaining = 100 * 365 * 24 * time.Hour

// remaining returns the time that lines take at a rate, at most maxRemaining, and nil if
// the rate is unknown.
func remaining(lines int64, perMinute float64) *time.Duration {
	if lines == 0 {
		return new(time.Duration)
	}
	if perMinute <= 0 {
		return nil
	}
	minutes := min(float64(lines)/perMinute, maxRemaining.Minutes())
	return new(time.Duration(minutes * float64(time.Minute)).Round(time.Second))
}

// tokensPerLine returns the tokens of the lines of a batch that completed so far.
func tokensPerLine(b *batch.Batch) scheduler.LineTokens {
	return scheduler.LineTokens{Lines: b.Counts.Completed, Input: b.Usage.InputTokens, Output: b.Usage.OutputTokens}
}

// averageTokens returns the tokens of the completed lines in work, which are of batches
// that have not ended. If there are none and a model is named, it returns those of all
// lines of the model that this gateway has made durable.
func (v *view) averageTokens(model string, work []share) scheduler.LineTokens {
	var sum scheduler.LineTokens
	for _, s := range work {
		t := tokensPerLine(s.Batch)
		sum.Lines += t.Lines
		sum.Input += t.Input
		sum.Output += t.Output
	}
	if sum.Known() || model == "" {
		return sum
	}
	return v.perLine[model]
}

// tokenSum estimates the tokens of lines of several batches.
type tokenSum struct {
	input, output float64
	known         bool // of all so far
}

// add adds lines by what those of their batch took, or else on average.
func (s *tokenSum) add(lines int64, own, average scheduler.LineTokens) {
	if lines == 0 {
		return
	}
	if !own.Known() {
		own = average
	}
	if !own.Known() {
		s.known = false
		return
	}
	s.input += float64(lines) / float64(own.Lines) * float64(own.Input)
	s.output += float64(lines) / float64(own.Lines) * float64(own.Output)
}

func (s *tokenSum) estimate() (input, output *int64) {
	if !s.known {
		return nil, nil
	}
	return new(int64(math.Round(s.input))), new(int64(math.Round(s.output)))
}
