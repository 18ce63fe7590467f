package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A problem is reported until it ends. A problem of a batch that another gateway may have
// claimed expires after some time. Each change is news once.
func TestTroubles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h health
		note := func(who string, err error, past time.Duration, news bool) {
			t.Helper()
			if h.record(who, err, past) != news {
				t.Errorf("%s, %v: news is not %t", who, err, news)
			}
		}
		wants := func(want ...string) {
			t.Helper()
			if got := h.reasons(); !slices.Equal(got, want) {
				t.Errorf("reasons are %q, want %q", got, want)
			}
		}
		away := errors.New("away")
		note("store", nil, 0, false)
		note("store", context.Canceled, 0, false)
		wants()
		note("store", away, 0, true)
		note("store", away, 0, false)
		note("store", errors.New("far away"), 0, true)
		note("batch 1", away, time.Minute, true)
		wants("batch 1: away", "store: far away")
		time.Sleep(time.Minute)
		note("batch 1", away, time.Minute, false) // it is recorded again
		time.Sleep(time.Minute)
		wants("batch 1: away", "store: far away")
		if age := time.Since(h.since()["store: far away"]); age != 2*time.Minute {
			t.Errorf("the store is in trouble for %s, want 2m", age)
		}
		time.Sleep(time.Second)
		note("batch 1", away, time.Minute, true) // it had expired
		time.Sleep(time.Minute + time.Second)
		wants("store: far away")
		note("batch 1", nil, time.Minute, false)
		note("store", nil, 0, true)
		wants()
	})
}
