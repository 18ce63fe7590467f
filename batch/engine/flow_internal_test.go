package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// flowing simulates servers that take lines, and keeps the minutes as a store does.
type flowing struct {
	begun time.Time
	ended []sent
}

// sent is a line by when it was sent and ended, in seconds.
type sent struct{ from, to float64 }

// run sends lines in order to places from a time on, while there are lines and until a
// time, and returns when the last one ended. Lines that do not end by then are lost.
func (f *flowing) run(from, until float64, places, lines int, duration func() float64) float64 {
	free := slices.Repeat([]float64{from}, places)
	last := from
	for range lines {
		i := 0
		for j := range free {
			if free[j] < free[i] {
				i = j
			}
		}
		to := free[i] + duration()
		if free[i] >= until {
			break
		}
		if to <= until {
			f.ended = append(f.ended, sent{free[i], to})
			last = max(last, to)
		}
		free[i] = to
	}
	return last
}

// minutes are those up to a time, the newest first.
func (f *flowing) minutes(now float64) []batch.ModelMinute {
	at := func(s float64) time.Time { return f.begun.Add(time.Duration(s * float64(time.Second))) }
	byMinute := make(map[time.Time]*batch.ModelMinute)
	for _, l := range f.ended {
		if l.to > now {
			continue
		}
		minute := at(l.to).Truncate(time.Minute)
		m := byMinute[minute]
		if m == nil {
			m = &batch.ModelMinute{Model: "m", At: minute, First: at(l.from), Began: at(l.from)}
			byMinute[minute] = m
		}
		m.Lines++
		if at(l.from).Before(m.First) {
			m.First = at(l.from)
		}
		m.Began, m.Last = later(m.Began, at(l.from)), later(m.Last, at(l.to))
	}
	var minutes []batch.ModelMinute
	for _, m := range byMinute {
		minutes = append(minutes, *m)
	}
	slices.SortFunc(minutes, func(a, b batch.ModelMinute) int { return b.At.Compare(a.At) })
	return minutes
}

// The speed is that of the time in which lines flowed, whatever came before and after.
func TestSpeedOf(t *testing.T) {
	t.Parallel()
	const never = 1e12
	for name, tt := range map[string]struct {
		run  func(f *flowing, duration func(mean float64) func() float64) // in seconds from a time in a minute
		now  float64
		want float64 // lines per minute; 0: not known
	}{
		"nothing":               {func(*flowing, func(float64) func() float64) {}, 100, 0},
		"while lines flow":      {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1e4, d(6)) }, 300, 200},
		"long lines":            {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 100, 1e4, d(150)) }, 1200, 40},
		"short lines":           {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 10, 1e4, d(0.2)) }, 90, 3000},
		"the first seconds":     {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1e4, d(1)) }, 20, 1200},
		"nothing has ended yet": {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1e4, d(60)) }, 10, 0},
		"two seconds":           {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1e4, d(1)) }, 2, 0},
		"all fitted at once":    {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 20, d(10)) }, 300, 0},
		"idle for a minute":     {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1000, d(6)) }, 370, 200},
		"idle for a day":        {func(f *flowing, d func(float64) func() float64) { f.run(0, never, 20, 1000, d(6)) }, 86400, 200},
		"the servers went away in the first second of a minute": {func(f *flowing, d func(float64) func() float64) { f.run(0, 281.5, 20, 1e5, d(6)) }, 330, 200},
		"one line takes five minutes at the end": {func(f *flowing, d func(float64) func() float64) {
			last := f.run(0, never, 20, 1000, d(6))
			f.ended = append(f.ended, sent{last - 6, last + 300})
		}, 700, 200},
		"the first server came late": {func(f *flowing, d func(float64) func() float64) { f.run(3590, never, 20, 1e4, d(2)) }, 3620, 600},
		"a line before, and then a break": {func(f *flowing, d func(float64) func() float64) {
			f.run(0, never, 1, 1, d(6))
			f.run(1000, never, 20, 1e4, d(6))
		}, 1100, 200},
		"small batches": {func(f *flowing, d func(float64) func() float64) {
			for i := range 6 {
				f.run(float64(i)*500, never, 20, 100, d(4))
			}
		}, 4000, 300},
		"half of the servers went": {func(f *flowing, d func(float64) func() float64) {
			f.run(0, 600, 40, 1e5, d(6))
			f.run(600, never, 20, 1e4, d(6))
		}, 760, 200},
		"twice as many servers came": {func(f *flowing, d func(float64) func() float64) {
			f.run(0, 600, 20, 1e5, d(6))
			f.run(600, never, 40, 1e4, d(6))
		}, 760, 400},
		"it is of all gateways": {func(f *flowing, d func(float64) func() float64) {
			f.run(0, never, 20, 1e4, d(6))
			f.run(0.5, never, 10, 1e4, d(6))
		}, 300, 300},
	} {
		t.Run(name, func(t *testing.T) {
			for second := range 60 { // wherever the minute begins
				random := rand.New(rand.NewPCG(1, uint64(second)))
				duration := func(mean float64) func() float64 {
					return func() float64 { return mean * (0.5 + random.Float64()) }
				}
				f := &flowing{begun: time.Date(2026, 7, 1, 12, 0, second, 0, time.UTC)}
				tt.run(f, duration)
				s, known := speedOf(f.minutes(tt.now))
				if !known && tt.want != 0 || known && (s.perMinute < 0.7*tt.want || s.perMinute > 1.4*tt.want) {
					t.Errorf("from second %d on: got %.1f lines per minute (%v), want about %v", second, s.perMinute, known, tt.want)
				}
			}
		})
	}
}

// The minutes of a model are remembered as they grow, and are bounded.
func TestFlowIsRemembered(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 30, 0, time.UTC)
	minute := func(model string, ago int, lines int64) batch.ModelMinute {
		at := now.Truncate(time.Minute).Add(-time.Duration(ago) * time.Minute)
		return batch.ModelMinute{Model: model, At: at, Lines: lines, First: at, Began: at.Add(50 * time.Second), Last: at.Add(50 * time.Second)}
	}
	f := flow{minutes: make(map[string][]batch.ModelMinute)}
	if got, want := f.since(now), now.Add(-batch.MinutesTTL); !got.Equal(want) {
		t.Errorf("at first minutes are read since %s, want %s", got, want)
	}
	f.learn([]batch.ModelMinute{minute("m", 0, 10), minute("n", 0, 1), minute("m", 1, 50)}, now)
	f.learn([]batch.ModelMinute{minute("m", 0, 30)}, now.Add(time.Second))
	if diff := cmp.Diff([]batch.ModelMinute{minute("m", 0, 30), minute("m", 1, 50)}, f.minutes["m"]); diff != "" {
		t.Errorf("minutes (-want +got):\n%s", diff)
	}
	if got, want := f.ended()["m"], minute("m", 0, 0).Last; !got.Equal(want) {
		t.Errorf("a line of m last ended at %s, want %s", got, want)
	}
	later := now.Add(time.Hour)
	if got := f.since(later); got.After(now) || got.Before(now.Add(-time.Hour)) {
		t.Errorf("then minutes are read since %s, want some before %s", got, now)
	}
	before := f.speeds()
	f.learn(nil, later)
	if diff := cmp.Diff(before, f.speeds(), cmp.AllowUnexported(speed{})); diff != "" || len(before) != 2 {
		t.Errorf("speeds after an hour (-before +after):\n%s", diff)
	}
	for i := range 3 * flowKept {
		f.learn([]batch.ModelMinute{minute("m", -i, 1)}, later)
	}
	if n := len(f.minutes["m"]); n != flowKept {
		t.Errorf("%d minutes of a model are remembered, want %d", n, flowKept)
	}
	for i := range 2 * mostSpeeds {
		f.learn([]batch.ModelMinute{minute(fmt.Sprint(i), -60-i, 1)}, later)
	}
	if _, newest := f.minutes[fmt.Sprint(2*mostSpeeds-1)]; len(f.minutes) != mostSpeeds || !newest {
		t.Errorf("%d models are remembered, the newest: %v; want %d", len(f.minutes), newest, mostSpeeds)
	}
}
