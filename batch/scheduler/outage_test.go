package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func TestOutage(t *testing.T) {
	const silence = time.Second
	failed := errors.New("no connection")
	begin := time.Now()
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	for name, tt := range map[string]struct {
		steps func(o *outage) (over bool)
		over  bool
		until time.Duration // from when on slices of ended leases are reclaimed, after begin; -1: not yet
	}{
		"the store answers": {func(o *outage) bool { o.ask(at(0)); return o.answered(nil, at(1), silence) }, false, 0},
		"it fails":          {func(o *outage) bool { o.ask(at(0)); return o.answered(failed, at(1), silence) }, false, -1},
		"it answers after a failure": {func(o *outage) bool {
			o.ask(at(0))
			o.answered(failed, at(1), silence)
			o.ask(at(2))
			return o.answered(nil, at(3), silence)
		}, true, 0},
		"it answers after a silence":     {func(o *outage) bool { o.ask(at(0)); return o.answered(nil, at(silence), silence) }, true, 0},
		"it answers after less":          {func(o *outage) bool { o.ask(at(0)); return o.answered(nil, at(silence-1), silence) }, false, 0},
		"a renewal failed":               {func(o *outage) bool { o.begin(); return false }, false, -1},
		"it answers after that":          {func(o *outage) bool { o.begin(); o.ask(at(0)); return o.answered(nil, at(1), silence) }, true, 0},
		"grace":                          {func(o *outage) bool { o.startGrace(at(0)); return false }, false, outageGrace},
		"it has been silent for a while": {func(o *outage) bool { o.ask(at(-silence)); return false }, false, -1},
	} {
		var o outage
		if over := tt.steps(&o); over != tt.over {
			t.Errorf("%s: outage is over: got %v, want %v", name, over, tt.over)
		}
		switch {
		case tt.until < 0:
			if !o.patient(at(0), silence) {
				t.Errorf("%s: patient: got false, want true", name)
			}
		case tt.until > 0 && !o.patient(at(tt.until-1), silence), o.patient(at(tt.until), silence):
			t.Errorf("%s: not patient until %s exactly", name, tt.until)
		}
	}
}

// A gateway that assumes the store to be available abandons every claim before the first
// lease ends that a silent store did not renew.
func TestClaimsEndBeforeLeases(t *testing.T) {
	for _, c := range []batch.Config{{}, {Lease: 1500 * time.Millisecond}, {Lease: time.Hour}} {
		c = c.WithDefaults()
		if got, end := refreshEvery(&c)+silence(&c)+claimWait(&c), c.Lease-c.LeaseRenew; got >= end {
			t.Errorf("lease %s, renewed every %s: the last claim ends %s after the store fell silent, want less than %s", c.Lease, c.LeaseRenew, got, end)
		}
	}
}

func TestRefreshes(t *testing.T) {
	now := time.Now()
	var r refreshes
	if r.ready(now) {
		t.Error("at first: got ready, want not")
	}
	r.due = true
	if !r.ready(now) {
		t.Error("when due: got not ready, want ready")
	}
	epoch := r.begin()
	r.due = true
	if r.ready(now) {
		t.Error("while one runs: got ready, want not")
	}
	if stale := r.end(now, epoch, 100, time.Second); stale {
		t.Error("its answer: got stale, want not")
	}
	if next := now.Add(100 * refreshDelay); r.ready(next.Add(-1)) || !r.ready(next) {
		t.Errorf("got notBefore %s after the start, want %s for 100 batches", r.notBefore.Sub(now), 100*refreshDelay)
	}
	epoch = r.begin()
	r.invalidate()
	if stale := r.end(now, epoch, 1e9, time.Second); !stale || !r.due {
		t.Errorf("answer of a refresh that was invalidated: got stale %v, due %v, want both", stale, r.due)
	}
	if got := r.notBefore.Sub(now); got != time.Second {
		t.Errorf("pause after very many batches: got %s, want %s", got, time.Second)
	}
}
