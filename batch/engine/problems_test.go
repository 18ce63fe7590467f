package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// A problem is reported until it ends. A problem of a batch that another gateway may have
// claimed expires after some time. Each change is news once.
func TestProblems(t *testing.T) {
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
			if got := h.reasons().Texts(); !slices.Equal(got, want) {
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
		if store := h.reasons()[1]; time.Since(store.Since) != 2*time.Minute {
			t.Errorf("the problem %q began %s ago, want 2m", store, time.Since(store.Since))
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

// Each tenant sees the problems that concern all, and those of its own batches.
func TestHealthOfTenants(t *testing.T) {
	t.Parallel()
	h := health{log: zap.NewNop()}
	h.Note("taking batches", errors.New("refused"))
	h.NoteBatch("batch_a", "a", errors.New("secret of a"))
	h.NoteBatch("batch_b", "b", errors.New("secret of b"))
	all := Health{Paused: h.reasons(), Stopped: []StoppedBatch{{ID: "batch_c", Tenant: "a"}, {ID: "batch_d", Tenant: "b"}}}
	for tenant, want := range map[string][]string{
		"a":    {"batch batch_a: secret of a", "taking batches: refused", "batch_c"},
		"b":    {"batch batch_b: secret of b", "taking batches: refused", "batch_d"},
		"none": {"taking batches: refused"},
	} {
		own := all.Of(tenant)
		got := own.Paused.Texts()
		for _, b := range own.Stopped {
			got = append(got, b.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("health of tenant %s has %q, want %q", tenant, got, want)
		}
	}
	if len(all.Paused) != 3 || len(all.Stopped) != 2 {
		t.Errorf("the health of all tenants was changed: %+v", all)
	}
	h.NoteBatch("batch_a", "", nil)
	if got := h.reasons(); len(got) != 2 || got[0].Tenant != "b" {
		t.Errorf("problems after the end of that of tenant a: %+v, want those of tenant b and of all", got)
	}
}

// In JSON a problem is its text.
func TestProblemsInJSON(t *testing.T) {
	t.Parallel()
	h := Health{Store: StatusOK, Queue: StatusOK, Files: StatusOK, Paused: Problems{{Text: "batch b: refused", Since: time.Now(), Tenant: "a"}}}
	got, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"store":"ok","queue":"ok","files":"ok","paused":["batch b: refused"],"in_flight":0}`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
