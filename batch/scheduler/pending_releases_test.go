package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// A release that failed is repeated while the lease holds: that of a whole slice until the lease
// ends, which is not renewed, and that of a divided one for as long as the kept line runs. It
// finds a release that is dropped after an error, or repeated for ever, and slices that were
// given up and are renewed or run nevertheless.
func TestReleaseIsRepeated(t *testing.T) {
	const ms = time.Millisecond
	first := []time.Duration{1000 * ms, 1100 * ms, 1300 * ms, 1700 * ms, 2500 * ms, 3500 * ms}
	cfg := batch.Config{Lease: 20 * time.Second, LeaseRenew: 5 * time.Second}
	for name, tt := range map[string]struct {
		failing        int
		divided, whole int             // slices that are released before the line ends
		calls          []time.Duration // the first ones
	}{
		"none fails":                        {0, 1, 2, first[:1]},
		"three fail":                        {3, 1, 2, first[:4]},
		"until the lease has ended":         {25, 1, 0, first},
		"all until the kept line has ended": {1000, 0, 0, first},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store, pool := started(cfg, 3, 1, func(int) (batch.Answer, time.Duration) { return fine, time.Minute })
				store.set(func() { store.failing = tt.failing })
				time.Sleep(time.Second)
				synctest.Wait()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				drained := make(chan struct{})
				go func() {
					s.Drain(ctx)
					close(drained)
				}()
				time.Sleep(50 * time.Second) // of a minute that the line takes
				synctest.Wait()
				store.set(func() {
					var divided, whole int
					for _, r := range store.released {
						if r.Keep != 0 {
							divided++
						} else {
							whole++
						}
					}
					if divided != tt.divided || whole != tt.whole {
						t.Errorf("released: got %d divided slices and %d whole, want %d and %d", divided, whole, tt.divided, tt.whole)
					}
					if diff := cmp.Diff(tt.calls, store.releases[:min(len(tt.calls), len(store.releases))]); diff != "" {
						t.Errorf("times of the releases (-want +got):\n%s", diff)
					}
					if got, want := len(store.releases), min(tt.failing+1, len(first)+47); got != want { // one a second
						t.Errorf("got %d calls, want %d", got, want)
					}
					if len(store.renewed) != 1 {
						t.Errorf("got the slices %v renewed, want the divided one", store.renewed)
					}
				})
				<-drained
				store.set(func() { store.failing = 0 })
				s.Stop()
				if len(pool.sent) != 1 || len(store.commits) != 1 {
					t.Errorf("got %d calls and %d commits, want 1 and 1", len(pool.sent), len(store.commits))
				}
			})
		})
	}
}

// A gateway that stops repeats releases that failed, for no longer than commitGrace. It releases
// each claim once: a line that was kept is released with its slice when it was aborted.
func TestStopRepeatsReleases(t *testing.T) {
	for name, tt := range map[string]struct {
		failing  int
		released int
		takes    time.Duration
	}{
		"three fail": {3, 3, 700 * time.Millisecond},
		"all fail":   {1000, 0, commitGrace},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store, _ := started(batch.Config{}, 3, 1, func(int) (batch.Answer, time.Duration) { return fine, time.Hour })
				store.set(func() { store.failing = 1000 })
				time.Sleep(time.Second)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				s.Drain(ctx)
				synctest.Wait()
				store.set(func() { store.failing = len(store.releases) + tt.failing })
				begin := time.Now()
				s.Stop()
				if took := time.Since(begin); took != tt.takes {
					t.Errorf("stopped after %s, want %s", took, tt.takes)
				}
				for _, r := range store.released {
					if r.Keep != 0 {
						t.Errorf("slice %d: got lines %b kept, want none", r.Number, r.Keep)
					}
				}
				if len(store.released) != tt.released {
					t.Errorf("got %d slices released, want %d", len(store.released), tt.released)
				}
			})
		})
	}
}

// TestReleasesAreMerged checks that one call at a time releases slices, the last release of each
// claim, and that a failed one is not behind a later one of the same claim.
func TestReleasesAreMerged(t *testing.T) {
	now := time.Now()
	claim := func(number, attempt int, keep uint64) release {
		c := batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "a", Number: number}, Attempt: attempt}
		return release{Release: batch.Release{SliceClaim: c, Keep: keep}, until: now.Add(time.Minute)}
	}
	take := func(p *pendingReleases, now time.Time) []batch.Release {
		due, _ := p.take(now)
		var given []batch.Release
		for _, r := range due {
			given = append(given, r.Release)
		}
		return given
	}
	var p pendingReleases
	p.add(claim(1, 1, 0b10))
	p.add(claim(2, 1, 0))
	sent, _ := p.take(now)
	p.add(claim(1, 1, 0))
	p.add(claim(2, 2, 0b1))
	if got := take(&p, now); got != nil {
		t.Errorf("while others are being released: got %v, want none", got)
	}
	if !p.sent(sent, errAway, now) {
		t.Error("the first failure was not reported")
	}
	if got := take(&p, now.Add(releaseBackoffMin-1)); got != nil {
		t.Errorf("during the pause: got %v, want none", got)
	}
	want := []batch.Release{claim(2, 1, 0).Release, claim(1, 1, 0).Release, claim(2, 2, 0b1).Release}
	if diff := cmp.Diff(want, take(&p, now.Add(releaseBackoffMin))); diff != "" {
		t.Errorf("after the pause (-want +got):\n%s", diff)
	}
}

// What is left of a slice whose other lines peers keep is released like other slices, and not
// queued: it cannot be claimed. It finds an error that leaves these lines to the end of a lease.
func TestSharedSliceIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &oneBatch{slices: 1, began: time.Now(), claimed: make(map[int]bool), failing: 2, kept: 0b10}
		pool := &answering{slots: 2, began: time.Now(), freed: make(chan struct{}, 1), answer: func(int) (batch.Answer, time.Duration) {
			return fine, time.Second
		}}
		queue := &pushes{}
		d := dependencies(batch.Config{})
		d.Store, d.Queue, d.Files, d.Dispatcher = store, queue, inputFile{}, pool
		s := New(d)
		s.Start()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := len(store.released); got != 1 || len(store.releases) != 3 {
			t.Errorf("got %d slices released in %d calls, want 1 in 3", got, len(store.releases))
		}
		s.end()
		if queue.pushed != 0 || len(pool.sent) != 1 {
			t.Errorf("got %d slices queued and %d lines sent, want 0 and 1", queue.pushed, len(pool.sent))
		}
	})
}

// pushes is a queue that counts what it is given.
type pushes struct {
	forgetful
	pushed int
}

func (q *pushes) Push(_ context.Context, _ string, numbers []int) error {
	q.pushed += len(numbers)
	return nil
}
