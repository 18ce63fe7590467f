package batch

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Demand is the work that batches which are InProgress have before them, for
// whatever decides how many servers there are.
type Demand struct {
	At time.Time // by the store's clock
	// Closed says that no batch runs at this time of day, ClosedUntil until when;
	// zero: for good.
	Closed      bool
	ClosedUntil time.Time
	// Models are those with work, those with the most lines first.
	Models []ModelDemand
}

// ModelDemand is the work for one model. What is not known is nil. Lines of paused
// batches are in PausedLines alone.
type ModelDemand struct {
	Model    string // "" for batches whose lines name several
	Batches  int64
	Lines    int64 // without a durable result, those in flight included
	InFlight int64 // of Lines, those that this gateway has on a server
	// Tokens estimates the input and the output of Lines by lines that have ended.
	InputTokens, OutputTokens *int64

	PausedBatches, PausedLines int64

	Oldest time.Time // when the oldest of Batches was created; zero without one

	// LinesPerMinute is how many lines ended in the minute before MeasuredAt, on
	// all gateways: in the last one, or the last in which any ended.
	LinesPerMinute *float64
	MeasuredAt     time.Time
	// Remaining is how long Lines take at that rate.
	Remaining *time.Duration
	// DeadlineRatio is the time that the lines up to a deadline take over the time
	// until then, for the deadline where it is largest. Above 1 the rate does not
	// suffice.
	DeadlineRatio *float64
	Late          int64 // batches that will miss their deadlines, paused ones included

	// Deadlines are sums of batches by when they are due, each with those before. A
	// step by which nothing more is due is left out.
	Deadlines []DeadlineDemand
}

// DeadlineDemand is the work of a model that is due Within a time from now.
type DeadlineDemand struct {
	Within                    time.Duration // 0: at any time
	Batches, Lines            int64
	InputTokens, OutputTokens *int64
	Remaining                 *time.Duration
}

// demandSteps are the Within of DeadlineDemand.
var demandSteps = []time.Duration{15 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 0}

// Demand returns the work that a tenant's batches have before them, at most a few seconds
// ago. It goes by the batches of the last refresh, at most activeLimit. It gives
// ErrUnavailable while nothing is known: nobody is to believe that nothing waits.
func (e *Engine) Demand(ctx context.Context, tenant string) (Demand, error) {
	v := e.backlog.look(ctx)
	if v == nil {
		return Demand{}, fmt.Errorf("looking at what waits: %w", ErrUnavailable)
	}
	return v.demand(func(b *Batch) bool { return b.Tenant == tenant }), nil
}

// demand sums the batches that of chooses.
func (v *view) demand(of func(*Batch) bool) Demand {
	d := Demand{At: v.now, Closed: v.closed, ClosedUntil: v.closing.Until}
	batches := make(map[string][]*Batch) // by model
	paused := make(map[string]*ModelDemand)
	for i := range v.active {
		b := &v.active[i]
		if !of(b) {
			continue
		}
		if b.PausedAt.IsZero() {
			batches[b.Model] = append(batches[b.Model], b)
			continue
		}
		p := paused[b.Model]
		if p == nil {
			p = new(ModelDemand)
			paused[b.Model] = p
		}
		p.PausedBatches++
		p.PausedLines += b.Left()
	}
	late := make(map[string]int64)
	for i := range v.late {
		if of(&v.late[i].Batch) {
			late[v.late[i].Model]++
		}
	}
	for model := range paused {
		if batches[model] == nil {
			batches[model] = []*Batch{}
		}
	}
	for model, all := range batches {
		m := v.modelDemand(model, all)
		if p := paused[model]; p != nil {
			m.PausedBatches, m.PausedLines = p.PausedBatches, p.PausedLines
		}
		m.Late = late[model]
		d.Models = append(d.Models, m)
	}
	slices.SortFunc(d.Models, func(a, b ModelDemand) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Model, b.Model))
	})
	return d
}

// modelDemand sums batches of a model that are not paused.
func (v *view) modelDemand(model string, batches []*Batch) ModelDemand {
	slices.SortStableFunc(batches, func(a, b *Batch) int { return a.ExpiresAt.Compare(b.ExpiresAt) })
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
	average := v.averageTokens(model, batches)
	sum := tokenSum{known: true}
	add := func(b *Batch) {
		left := b.Left()
		m.Batches++
		m.Lines += left
		m.InFlight += min(v.inFlight[b.ID], left)
		if m.Oldest.IsZero() || b.CreatedAt.Before(m.Oldest) {
			m.Oldest = b.CreatedAt
		}
		sum.add(left, tokensPerLine(b), average)
		if rate > 0 && open {
			ratio := float64(m.Lines) / rate * 60 / max(b.ExpiresAt.Sub(start).Seconds(), 1)
			if m.DeadlineRatio == nil || ratio > *m.DeadlineRatio {
				m.DeadlineRatio = &ratio
			}
		}
	}
	next := 0
	for _, within := range demandSteps {
		before := next
		for next < len(batches) && (within == 0 || batches[next].ExpiresAt.Sub(v.now) <= within) {
			add(batches[next])
			next++
		}
		if next == before {
			continue
		}
		d := DeadlineDemand{Within: within, Batches: m.Batches, Lines: m.Lines, Remaining: remaining(m.Lines, rate)}
		d.InputTokens, d.OutputTokens = sum.estimate()
		m.Deadlines = append(m.Deadlines, d)
	}
	m.InputTokens, m.OutputTokens = sum.estimate()
	m.Remaining = remaining(m.Lines, rate)
	return m
}

// remaining is how long lines take at a rate; nil when that is not known, or longer
// than any window.
func remaining(lines int64, perMinute float64) *time.Duration {
	if lines == 0 {
		return new(time.Duration)
	}
	if perMinute <= 0 {
		return nil
	}
	minutes := float64(lines) / perMinute
	if minutes > maxWindow.Minutes() {
		return nil
	}
	return new(time.Duration(minutes * float64(time.Minute)).Round(time.Second))
}

// lineTokens are tokens of lines that have ended.
type lineTokens struct{ lines, input, output int64 }

func (t lineTokens) known() bool { return t.lines > 0 && t.input+t.output > 0 }

// tokensPerLine are what the lines of a batch took that completed so far.
func tokensPerLine(b *Batch) lineTokens {
	return lineTokens{b.Counts.Completed, b.Usage.InputTokens, b.Usage.OutputTokens}
}

// averageTokens are of batches of the model that are not over, or else of all lines
// that this gateway has made durable.
func (v *view) averageTokens(model string, batches []*Batch) lineTokens {
	var sum lineTokens
	for _, b := range batches {
		t := tokensPerLine(b)
		sum.lines += t.lines
		sum.input += t.input
		sum.output += t.output
	}
	if sum.known() || model == "" {
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
func (s *tokenSum) add(lines int64, own, average lineTokens) {
	if lines == 0 {
		return
	}
	if !own.known() {
		own = average
	}
	if !own.known() {
		s.known = false
		return
	}
	s.input += float64(lines) / float64(own.lines) * float64(own.input)
	s.output += float64(lines) / float64(own.lines) * float64(own.output)
}

func (s *tokenSum) estimate() (input, output *int64) {
	if !s.known {
		return nil, nil
	}
	return new(int64(math.Round(s.input))), new(int64(math.Round(s.output)))
}
