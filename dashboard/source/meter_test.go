package source

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// TestMeter checks that rates are the growth of usage divided by the observed part of the
// window.
func TestMeter(t *testing.T) {
	begun := time.Unix(1_800_000_000, 0)
	var counted usage
	reads := 0
	var failing error
	m := meter{read: func(context.Context, time.Time) (usage, error) {
		reads++
		return maps.Clone(counted), failing
	}}
	at := func(seconds int, window time.Duration, live, batch float64) {
		t.Helper()
		w, l, b, err := m.rates(t.Context(), begun.Add(time.Duration(seconds)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if w != window || l.Requests != live || b.Requests != batch {
			t.Errorf("after %d s: %v, live %v, batch %v; want %v, %v, %v", seconds, w, l.Requests, b.Requests, window, live, batch)
		}
	}
	before, now := begun.Add(-bucket).Unix(), begun.Unix() // buckets
	count := func(bucket int64, class string, requests int64) {
		counted[cell{bucket, class}] = templates.Work{Requests: counted[cell{bucket, class}].Requests + requests}
	}
	counted = usage{{before, "live"}: {Requests: 1800}, {before, "batch"}: {Requests: 9}, {before - 900, "live"}: {Requests: 1e6}}
	at(0, bucket, 2, .01) // from buckets
	count(before, "live", 20)
	at(1, bucket, 2, .01) // too soon for another sample
	at(10, 10*time.Second, 2, 0)
	count(now, "live", 30) // in the next bucket
	count(now, "batch", 60)
	at(20, 20*time.Second, 2.5, 3)
	delete(counted, cell{before, "live"}) // out of what is read
	delete(counted, cell{before, "batch"})
	at(30, 30*time.Second, 50./30, 2)
	at(40, 30*time.Second, 1, 2) // the first ten seconds are out of the window
	at(50, 30*time.Second, 0, 0)
	at(200, 1100*time.Second, 30./1100, 60./1100) // no request for a long time
	at(210, 10*time.Second, 0, 0)
	at(100, 1000*time.Second, .03, .06) // the clock was set back
	read := reads
	failing = errors.New("no")
	if _, _, _, err := m.rates(t.Context(), begun.Add(110*time.Second)); !errors.Is(err, failing) || reads != read+1 {
		t.Errorf("error is %v after %d reads", err, reads-read)
	}
}

// A gateway is not measured in the time before its start.
func TestMeterOfAYoungGateway(t *testing.T) {
	quarter := time.Unix(1_800_000_000, 0) // a bucket begins
	for _, c := range []struct {
		name           string
		started, asked time.Duration // after quarter
		window         time.Duration
		requests       float64
	}{
		{"seven minutes old, in the first bucket", time.Minute, 8 * time.Minute, 0, 0},
		{"seven minutes old, and one bucket began", 10 * time.Minute, 17 * time.Minute, 2 * time.Minute, 1},
		{"a bucket began just now", 10 * time.Minute, bucket + time.Second, 0, 0},
		{"started with a bucket", 0, 8 * time.Minute, 8 * time.Minute, 2},
		{"22 minutes old", -7 * time.Minute, bucket, bucket, 960. / 900},
		{"old", -time.Hour, 8 * time.Minute, bucket + 8*time.Minute, (960. + 500) / 1380},
	} {
		m := meter{started: quarter.Add(c.started), read: func(context.Context, time.Time) (usage, error) {
			return usage{
				{quarter.Add(-bucket).Unix(), "live"}: {Requests: 500},
				{quarter.Unix(), "live"}:              {Requests: 960},
				{quarter.Add(bucket).Unix(), "live"}:  {Requests: 120},
			}, nil
		}}
		if c.asked <= bucket { // the next one has not begun
			m.read = func(context.Context, time.Time) (usage, error) {
				return usage{{quarter.Add(-bucket).Unix(), "live"}: {Requests: 500}, {quarter.Unix(), "live"}: {Requests: 960}}, nil
			}
		}
		window, live, _, err := m.rates(t.Context(), quarter.Add(c.asked))
		if err != nil {
			t.Fatal(err)
		}
		if window != c.window || live.Requests != c.requests {
			t.Errorf("%s: %v per second over %v, want %v over %v", c.name, live.Requests, window, c.requests, c.window)
		}
	}
}

// Averages begin with the gateway or with the first work, whichever was first.
func TestFirstWork(t *testing.T) {
	from := time.Unix(1_800_000_000, 0)
	p := batch.Period{From: from, To: from.Add(24 * time.Hour), Step: bucket}
	point := func(after time.Duration) batch.UsagePoint { return batch.UsagePoint{At: from.Add(after)} }
	started := from.Add(10*time.Hour + 7*time.Minute)
	for _, c := range []struct {
		name   string
		points []batch.UsagePoint
		want   time.Time
	}{
		{"no work", nil, started},
		{"work since the start", []batch.UsagePoint{point(10 * time.Hour), point(11 * time.Hour)}, started},
		{"work before it", []batch.UsagePoint{point(11 * time.Hour), point(3 * time.Hour), point(4 * time.Hour)}, from.Add(3 * time.Hour)},
	} {
		if got := firstWork(started, p, c.points); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRemembered checks that values are cached for a while, and errors are not.
func TestRemembered(t *testing.T) {
	now := time.Unix(1000, 0)
	reads := 0
	var failing error
	r := remember(3*time.Second, func() time.Time { return now }, func(context.Context) (int, error) {
		reads++
		return reads, failing
	})
	get := func(want int) {
		t.Helper()
		if got, err := r.get(t.Context()); err != nil || got != want {
			t.Errorf("%d, %v, want %d", got, err, want)
		}
	}
	get(1)
	now = now.Add(2 * time.Second)
	get(1)
	now = now.Add(2 * time.Second)
	get(2)
	now = now.Add(-time.Hour) // the clock was set back
	get(3)
	now = now.Add(time.Hour)
	failing = errors.New("no")
	if _, err := r.get(t.Context()); !errors.Is(err, failing) {
		t.Errorf("error is %v", err)
	}
	failing = nil
	get(5)

	few := recent[int, string]{age: time.Minute}
	for i := range 2 * recentLimit {
		few.put(i, now.Add(time.Duration(i)*time.Millisecond), "x")
	}
	if len(few.values) != recentLimit {
		t.Errorf("%d values are remembered", len(few.values))
	}
	if _, ok := few.get(2*recentLimit-1, now); !ok {
		t.Error("the newest is forgotten")
	}
	if _, ok := few.get(0, now); ok {
		t.Error("the oldest is remembered")
	}
	if _, ok := few.get(2*recentLimit-1, now.Add(2*time.Minute)); ok {
		t.Error("got an expired value")
	}
}
