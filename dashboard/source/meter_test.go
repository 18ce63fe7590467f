package source

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/tidegate/tidegate/dashboard"
)

// Rates are what usage has grown by, over what was seen of the window.
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
	count := func(bucket int64, class string, requests int64) {
		counted[cell{bucket, class}] = dashboard.Work{Requests: counted[cell{bucket, class}].Requests + requests}
	}
	counted = usage{{0, "live"}: {Requests: 1000}, {0, "batch"}: {Requests: 5}}
	at(0, 0, 0, 0) // nothing is known yet
	count(0, "live", 20)
	at(1, 0, 0, 0) // too soon to look again
	at(10, 10*time.Second, 2, 0)
	count(900, "live", 30) // in the next bucket
	count(900, "batch", 60)
	at(20, 20*time.Second, 2.5, 3)
	delete(counted, cell{0, "live"}) // out of what is read
	delete(counted, cell{0, "batch"})
	at(30, 30*time.Second, 50./30, 2)
	at(40, 30*time.Second, 1, 2) // the first ten seconds are out of the window
	at(50, 30*time.Second, 0, 0)
	at(200, 0, 0, 0) // nobody has asked for long
	at(210, 10*time.Second, 0, 0)
	at(100, 0, 0, 0) // the clock was set back
	before := reads
	failing = errors.New("no")
	if _, _, _, err := m.rates(t.Context(), begun.Add(110*time.Second)); !errors.Is(err, failing) || reads != before+1 {
		t.Errorf("error is %v after %d reads", err, reads-before)
	}
}

// What was read is given again for a while; errors are not.
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
		t.Error("what is old is given")
	}
}
