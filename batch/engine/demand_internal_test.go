package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestDemand(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	type part struct {
		model      string
		left, done int64
		tokens     int64 // of input, and twice as many of output, of a line that is done
		window     time.Duration
		paused     bool
		tenant     string
		running    int64
		waits      bool               // Validating
		of         []batch.BatchModel // its lines by model
		runningOf  map[string]int64   // by model
	}
	type due struct {
		within         time.Duration
		batches, lines int64
		input          int64 // -1: not known
		remaining      time.Duration
	}
	type model struct {
		name                     string
		batches, lines, inFlight int64
		waits                    int64 // of batches
		paused                   int64
		input, output            int64 // -1: not known
		remaining                time.Duration
		ratio                    float64
		late                     int64
		due                      []due
	}
	const unknown = -1
	for name, tt := range map[string]struct {
		parts   []part
		speeds  map[string]float64 // lines per minute
		perLine map[string]scheduler.LineTokens
		closing *batch.Closing
		late    []int
		want    []model
	}{
		"nothing": {},
		"one batch, nothing known": {
			parts: []part{{model: "m", left: 100, window: 24 * time.Hour}},
			want:  []model{{name: "m", batches: 1, lines: 100, input: unknown, output: unknown, remaining: unknown, due: []due{{24 * time.Hour, 1, 100, unknown, unknown}}}},
		},
		"its own lines tell the tokens": {
			parts:  []part{{model: "m", left: 100, done: 10, tokens: 7, window: 2 * time.Hour, running: 4}},
			speeds: map[string]float64{"m": 10},
			want:   []model{{name: "m", batches: 1, lines: 100, inFlight: 4, input: 700, output: 1400, remaining: 10 * time.Minute, ratio: 10. / 120, due: []due{{4 * time.Hour, 1, 100, 700, 10 * time.Minute}}}},
		},
		"others of the model tell them": {
			parts:  []part{{model: "m", left: 10, done: 10, tokens: 6, window: time.Hour}, {model: "m", left: 100, window: 24 * time.Hour}},
			speeds: map[string]float64{"m": 1},
			want: []model{{
				name: "m", batches: 2, lines: 110, input: 660, output: 1320, remaining: 110 * time.Minute, ratio: 10. / 60,
				due: []due{{time.Hour, 1, 10, 60, 10 * time.Minute}, {24 * time.Hour, 2, 110, 660, 110 * time.Minute}},
			}},
		},
		"lines that ended before tell them": {
			parts:   []part{{model: "m", left: 100, window: time.Hour}},
			perLine: map[string]scheduler.LineTokens{"m": {Lines: 4, Input: 8, Output: 16}},
			want:    []model{{name: "m", batches: 1, lines: 100, input: 200, output: 400, remaining: unknown, due: []due{{time.Hour, 1, 100, 200, unknown}}}},
		},
		"answers without usage tell nothing": {
			parts: []part{{model: "m", left: 5, done: 5, window: time.Hour}},
			want:  []model{{name: "m", batches: 1, lines: 5, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 5, unknown, unknown}}}},
		},
		"the deadline that is hardest to meet": {
			parts:  []part{{model: "m", left: 600, window: time.Hour}, {model: "m", left: 30, window: 10 * time.Minute}, {model: "m", left: 1, window: 30 * 24 * time.Hour}},
			speeds: map[string]float64{"m": 5},
			want: []model{{
				name: "m", batches: 3, lines: 631, input: unknown, output: unknown, remaining: 126*time.Minute + 12*time.Second, ratio: 126. / 60,
				due: []due{{15 * time.Minute, 1, 30, unknown, 6 * time.Minute}, {time.Hour, 2, 630, unknown, 126 * time.Minute}, {0, 3, 631, unknown, 126*time.Minute + 12*time.Second}},
			}},
		},
		"a deadline that is over": {
			parts:  []part{{model: "m", left: 1, window: -time.Minute}},
			speeds: map[string]float64{"m": 60},
			want:   []model{{name: "m", batches: 1, lines: 1, input: unknown, output: unknown, remaining: time.Second, ratio: 1, due: []due{{15 * time.Minute, 1, 1, unknown, time.Second}}}},
		},
		"models by their lines, several in one batch": {
			parts:  []part{{model: "m", left: 1, window: time.Hour}, {model: "", left: 5, window: time.Hour}, {model: "n", left: 3, window: time.Hour}},
			speeds: map[string]float64{"x": 1},
			want: []model{
				{name: "", batches: 1, lines: 5, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 5, unknown, unknown}}},
				{name: "n", batches: 1, lines: 3, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 3, unknown, unknown}}},
				{name: "m", batches: 1, lines: 1, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 1, unknown, unknown}}},
				{name: "x"},
			},
		},
		"models without work whose speed is known": {
			parts:  []part{{model: "m", left: 60, window: time.Hour, tenant: "other"}},
			speeds: map[string]float64{"m": 1, "n": 2, "": 3},
			want:   []model{{name: "m"}, {name: "n"}},
		},
		"paused batches want no server": {
			parts:  []part{{model: "m", left: 50, window: time.Hour, paused: true}},
			speeds: map[string]float64{"m": 1},
			late:   []int{0},
			want:   []model{{name: "m", paused: 50, late: 1}},
		},
		"another tenant's": {
			parts: []part{{model: "m", left: 5, window: time.Hour, tenant: "other"}},
			late:  []int{0},
		},
		"outside of its hours, the time until then is no use": {
			parts:   []part{{model: "m", left: 60, window: 3 * time.Hour}},
			speeds:  map[string]float64{"m": 1},
			closing: &batch.Closing{Until: now.Add(2 * time.Hour)},
			want:    []model{{name: "m", batches: 1, lines: 60, input: unknown, output: unknown, remaining: time.Hour, ratio: 1, due: []due{{4 * time.Hour, 1, 60, unknown, time.Hour}}}},
		},
		"hours that never come": {
			parts:   []part{{model: "m", left: 60, window: 3 * time.Hour}},
			speeds:  map[string]float64{"m": 1},
			closing: &batch.Closing{},
			want:    []model{{name: "m", batches: 1, lines: 60, input: unknown, output: unknown, remaining: time.Hour, due: []due{{4 * time.Hour, 1, 60, unknown, time.Hour}}}},
		},
		"longer than any window": {
			parts:  []part{{model: "m", left: 60 * 24 * 60, window: time.Hour}},
			speeds: map[string]float64{"m": 1},
			want:   []model{{name: "m", batches: 1, lines: 60 * 24 * 60, input: unknown, output: unknown, remaining: 60 * 24 * time.Hour, ratio: 60 * 24, due: []due{{time.Hour, 1, 60 * 24 * 60, unknown, 60 * 24 * time.Hour}}}},
		},
		"longer than a Duration": {
			parts:  []part{{model: "m", left: 1 << 40, window: time.Hour}},
			speeds: map[string]float64{"m": 1e-3},
			want:   []model{{name: "m", batches: 1, lines: 1 << 40, input: unknown, output: unknown, remaining: maxRemaining, ratio: (1 << 40) / 1e-3 / 60, due: []due{{time.Hour, 1, 1 << 40, unknown, maxRemaining}}}},
		},
		"a batch that waits for its models": {
			parts: []part{{waits: true, window: 24 * time.Hour, of: []batch.BatchModel{{ModelLines: batch.ModelLines{Model: "m", Lines: 7}}, {ModelLines: batch.ModelLines{Model: "n", Lines: 2}}}}},
			want: []model{
				{name: "m", batches: 1, waits: 1, lines: 7, input: unknown, output: unknown, remaining: unknown, due: []due{{24 * time.Hour, 1, 7, unknown, unknown}}},
				{name: "n", batches: 1, waits: 1, lines: 2, input: unknown, output: unknown, remaining: unknown, due: []due{{24 * time.Hour, 1, 2, unknown, unknown}}},
			},
		},
		"a batch that waits beside one that runs": {
			parts:  []part{{waits: true, window: 24 * time.Hour, of: []batch.BatchModel{{ModelLines: batch.ModelLines{Model: "m", Lines: 30}}}}, {model: "m", left: 10, running: 2, window: time.Hour}},
			speeds: map[string]float64{"m": 10},
			want: []model{{
				name: "m", batches: 2, waits: 1, lines: 40, inFlight: 2, input: unknown, output: unknown, remaining: 4 * time.Minute, ratio: 1. / 60,
				due: []due{{time.Hour, 1, 10, unknown, time.Minute}, {24 * time.Hour, 2, 40, unknown, 4 * time.Minute}},
			}},
		},
		"a paused batch that waits": {
			parts: []part{{waits: true, paused: true, window: time.Hour, of: []batch.BatchModel{{ModelLines: batch.ModelLines{Model: "m", Lines: 7}}}}},
			want:  []model{{name: "m", paused: 7}},
		},
		"a batch that is not counted yet": {
			parts: []part{{waits: true, window: time.Hour}},
			want:  []model{{batches: 1, waits: 1, remaining: 0, due: []due{{time.Hour, 1, 0, 0, 0}}}},
		},
		"a batch of several models counts for each": {
			parts: []part{
				{left: 10, done: 5, window: time.Hour, of: []batch.BatchModel{{ModelLines: batch.ModelLines{Model: "m", Lines: 12}, Done: 4}, {ModelLines: batch.ModelLines{Model: "n", Lines: 3}, Done: 1}}, runningOf: map[string]int64{"m": 6}},
				{model: "m", left: 2, window: time.Hour},
			},
			speeds: map[string]float64{"n": 1},
			late:   []int{0},
			want: []model{
				{name: "m", batches: 2, lines: 10, inFlight: 6, input: unknown, output: unknown, remaining: unknown, late: 1, due: []due{{time.Hour, 2, 10, unknown, unknown}}},
				{name: "n", batches: 1, lines: 2, input: unknown, output: unknown, remaining: 2 * time.Minute, ratio: 2. / 60, late: 1, due: []due{{time.Hour, 1, 2, unknown, 2 * time.Minute}}},
			},
		},
		"no more is left of models than of their batch": {
			parts: []part{{left: 6, window: time.Hour, of: []batch.BatchModel{{ModelLines: batch.ModelLines{Model: "m", Lines: 8}}, {ModelLines: batch.ModelLines{Model: "n", Lines: 4}}}}},
			want: []model{
				{name: "m", batches: 1, lines: 4, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 4, unknown, unknown}}},
				{name: "n", batches: 1, lines: 2, input: unknown, output: unknown, remaining: unknown, due: []due{{time.Hour, 1, 2, unknown, unknown}}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := &view{now: now, inFlight: map[string]map[string]int64{}, models: map[string][]batch.BatchModel{}, perLine: tt.perLine, speeds: map[string]speed{}}
			for m, perMinute := range tt.speeds {
				v.speeds[m] = speed{perMinute, now}
			}
			if tt.closing != nil {
				v.closed, v.closing = true, *tt.closing
			}
			for i, p := range tt.parts {
				b := batch.Batch{ID: fmt.Sprint(i), Tenant: batch.DefaultTenant, Status: batch.InProgress, Model: p.model, CreatedAt: now.Add(-time.Hour), ExpiresAt: now.Add(p.window)}
				b.Counts = openai.RequestCounts{Total: p.left + p.done, Completed: p.done}
				b.Usage = openai.Usage{InputTokens: p.done * p.tokens, OutputTokens: 2 * p.done * p.tokens}
				if p.paused {
					b.PausedAt = now
				}
				if p.tenant != "" {
					b.Tenant = p.tenant
				}
				v.inFlight[b.ID] = map[string]int64{p.model: p.running}
				if len(p.of) > 0 {
					v.models[b.ID], v.inFlight[b.ID] = p.of, p.runningOf
				}
				if p.waits {
					b.Status, b.Model = batch.Validating, ""
					v.waiting = append(v.waiting, b)
					continue
				}
				v.active = append(v.active, b)
			}
			for _, i := range tt.late {
				v.atRisk = append(v.atRisk, AtRisk{v.active[i], RiskPaused})
			}
			tokens := func(n *int64) int64 {
				if n == nil {
					return unknown
				}
				return *n
			}
			span := func(d *time.Duration) time.Duration {
				if d == nil {
					return unknown
				}
				return *d
			}
			var got []model
			for _, m := range v.demand(func(b *batch.Batch) bool { return b.Tenant == batch.DefaultTenant }).Models {
				g := model{
					name: m.Model, batches: m.Batches, waits: m.Validating, lines: m.Lines, inFlight: m.InFlight, paused: m.PausedLines, late: m.AtRisk,
					input: tokens(m.InputTokens), output: tokens(m.OutputTokens), remaining: span(m.Remaining),
				}
				if m.DeadlineRatio != nil {
					g.ratio = *m.DeadlineRatio
				}
				for _, d := range m.Deadlines {
					g.due = append(g.due, due{d.Within, d.Batches, d.Lines, tokens(d.InputTokens), span(d.Remaining)})
				}
				if s, known := tt.speeds[m.Model]; known != (m.LinesPerMinute != nil) || known && (*m.LinesPerMinute != s || !m.MeasuredAt.Equal(now)) {
					t.Errorf("speed of %q: got %v at %s, want %v", m.Model, m.LinesPerMinute, m.MeasuredAt, s)
				}
				if m.Batches > 0 && !m.Oldest.Equal(now.Add(-time.Hour)) {
					t.Errorf("the oldest of %q is of %s, want %s", m.Model, m.Oldest, now.Add(-time.Hour))
				}
				got = append(got, g)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(model{}, due{}), cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9*b+1e-12 && b-a < 1e-9*b+1e-12 })); d != "" {
				t.Errorf("demand (-want +got):\n%s", d)
			}
		})
	}
}
