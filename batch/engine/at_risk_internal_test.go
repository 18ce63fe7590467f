package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

func TestLateOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	type part struct {
		model  string
		left   int64
		rate   int64         // lines in the last minute
		window time.Duration // until its deadline
		paused bool
		over   bool
		age    time.Duration
		speed  float64 // of its model, while lines flowed; 0: not known
	}
	for name, tt := range map[string]struct {
		parts []part // in the order in which they are served
		want  []string
	}{
		"all in time": {[]part{{model: "m", left: 100, rate: 10, window: time.Hour}, {model: "m", left: 100, window: 21 * time.Minute}}, nil},
		"one is too slow": {
			[]part{{model: "m", left: 1000, rate: 10, window: time.Hour}, {model: "m", left: 1000, rate: 20, window: time.Hour}},
			[]string{"0 slow"},
		},
		"too much goes before one that waits": {
			[]part{{model: "m", left: 500, rate: 10, window: 58 * time.Minute}, {model: "m", left: 100, window: 59 * time.Minute}, {model: "m", left: 100, window: 71 * time.Minute}},
			[]string{"1 waiting"},
		},
		"one that waits is late by its own lines": {
			[]part{{model: "m", left: 10, rate: 10, window: time.Hour}, {model: "m", left: 1000, window: time.Hour}},
			[]string{"1 waiting"},
		},
		"a batch of another model delays none": {
			[]part{{model: "n", left: 10_000, rate: 1000, window: time.Hour}, {model: "m", left: 10, window: 20 * time.Minute}},
			nil,
		},
		"nothing moves": {
			[]part{{model: "n", left: 10, rate: 10, window: time.Hour}, {model: "m", left: 10, window: 16 * time.Minute}, {model: "m", left: 10, window: 14 * time.Minute}},
			[]string{"2 still"},
		},
		"nothing moves yet": {[]part{{model: "m", left: 10, window: 14 * time.Minute, age: 30 * time.Second}}, nil},
		"paused, with time enough": {
			[]part{{model: "m", left: 10, rate: 10, window: time.Hour}, {model: "m", left: 100, window: 2 * time.Hour, paused: true}},
			nil,
		},
		"paused, and the deadline is near": {[]part{{model: "m", left: 1, window: 59 * time.Minute, paused: true}}, []string{"0 paused"}},
		"paused, and too much is left": {
			[]part{{model: "m", left: 10, rate: 1, window: time.Hour}, {model: "m", left: 120, window: 2 * time.Hour, paused: true}},
			[]string{"1 paused"},
		},
		"those before it ended just now": {[]part{{model: "m", rate: 10, over: true}, {model: "m", left: 100, window: 11 * time.Minute}, {model: "m", left: 100, window: 14 * time.Minute}}, []string{"2 waiting"}},
		"paused batches delay no other batch": {
			[]part{{model: "m", left: 10, rate: 10, window: 3 * time.Hour}, {model: "m", left: 100_000, window: 150 * time.Hour, paused: true}, {model: "m", left: 100, window: 2 * time.Hour, paused: true}},
			[]string{"1 paused"},
		},
		"new, after a minute in which little ended": {
			[]part{{model: "m", rate: 1, over: true}, {model: "m", left: 1000, window: time.Hour, age: time.Second, speed: 100}},
			nil,
		},
		"new, and its first lines have ended": {[]part{{model: "m", left: 1000, rate: 1, window: time.Hour, age: 30 * time.Second, speed: 100}}, nil},
		"new, and the servers do not suffice": {
			[]part{{model: "m", left: 7000, window: time.Hour, age: time.Second, speed: 100}},
			[]string{"0 waiting"},
		},
		"nothing moves, though the servers would suffice":                 {[]part{{model: "m", left: 10, window: 14 * time.Minute, speed: 100}}, []string{"0 still"}},
		"the first batch of a model, of which the first lines have ended": {[]part{{model: "m", left: 1_000_000, rate: 3, window: 24 * time.Hour, age: 3 * time.Second}}, nil},
		"the same a few seconds later":                                    {[]part{{model: "m", left: 1_000_000, rate: 3, window: 24 * time.Hour, age: 20 * time.Second}}, nil},
		"another one begins with it":                                      {[]part{{model: "m", left: 1_000_000, rate: 3, window: 24 * time.Hour, age: 3 * time.Second}, {model: "m", left: 100, window: 25 * time.Hour, age: 2 * time.Second}}, nil},
		"a short batch of the model ended just before": {
			[]part{{model: "m", rate: 3, over: true}, {model: "m", left: 1_000_000, window: 24 * time.Hour, age: 3 * time.Second}},
			nil,
		},
		"a minute after its beginning":  {[]part{{model: "m", left: 1_000_000, rate: 3, window: 24 * time.Hour, age: time.Minute}}, []string{"0 slow"}},
		"new, and its deadline is over": {[]part{{model: "m", left: 10, rate: 3, window: -time.Second, age: 20 * time.Second}}, []string{"0 slow"}},
		"its deadline is over":          {[]part{{model: "m", left: 1, rate: 10, window: -time.Second}}, []string{"0 slow"}},
	} {
		t.Run(name, func(t *testing.T) {
			var active []batch.Batch
			var pace []batch.Pace
			speeds := make(map[string]speed)
			for i, p := range tt.parts {
				age := p.age
				if age == 0 {
					age = time.Hour
				}
				b := batch.Batch{ID: fmt.Sprint(i), Status: batch.InProgress, Model: p.model, InProgressAt: now.Add(-age), ExpiresAt: now.Add(p.window)}
				b.Counts.Total = p.left + p.rate
				b.Counts.Completed = p.rate
				if p.speed > 0 {
					speeds[p.model] = speed{p.speed, now.Add(-time.Hour)}
				}
				if p.paused {
					b.PausedAt = now
				}
				if p.over {
					b.Counts.Total = p.rate
				} else {
					active = append(active, b)
				}
				if p.rate > 0 {
					pace = append(pace, batch.Pace{BatchID: b.ID, Model: b.Model, Minute: batch.Minute{At: now.Add(-time.Minute), Completed: p.rate}})
				}
			}
			var got []string
			for _, l := range atRiskOf(active, pace, speeds, now) {
				got = append(got, l.ID+" "+string(l.Why))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("late (-want +got):\n%s", diff)
			}
		})
	}
}
