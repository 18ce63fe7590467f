package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// oneBatch is a store with one batch of slices of two lines. It records what a Scheduler
// does with them and when.
type oneBatch struct {
	batch.Store
	slices int
	began  time.Time
	kept   uint64 // lines of each slice that a peer keeps

	mu       sync.Mutex
	away     bool
	claimed  map[int]bool
	renewals []time.Duration // since began, failed ones included
	commits  []time.Duration
	releases []time.Duration // likewise
	failing  int             // calls of ReleaseSlices that fail
	renewed  map[int]bool    // slices, in the last renewal
	released []batch.Release
}

const (
	linesOfSlice = 2
	requestLine  = `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"hi"}]}}` + "\n"
)

var errAway = errors.New("store is away")

func (s *oneBatch) ActiveBatches(context.Context, int) ([]batch.Batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errAway
	}
	b := batch.Batch{ID: "b", Model: "m", Endpoint: "/v1/chat/completions", Status: batch.InProgress}
	b.Counts.Total = int64(s.slices * linesOfSlice)
	return []batch.Batch{b}, nil
}

func (s *oneBatch) InputFile(context.Context, string) (batch.File, error) {
	return batch.File{Key: "input"}, nil
}

func (s *oneBatch) LapsedSlices(context.Context, string, int) ([]int, error) { return nil, nil }

func (s *oneBatch) ClaimableSlices(_ context.Context, _ string, limit int) (numbers []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.slices {
		if !s.claimed[n] && len(numbers) < limit {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func (s *oneBatch) ClaimSlices(_ context.Context, _ batch.Claimant, refs []batch.SliceRef) (claimed []batch.Slice, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ref := range refs {
		s.claimed[ref.Number] = true
		claimed = append(claimed, batch.Slice{
			SliceClaim: batch.SliceClaim{SliceRef: ref, Attempt: 1}, Kept: s.kept,
			SlicePlan: batch.SlicePlan{FirstLine: ref.Number * linesOfSlice, Lines: linesOfSlice, Length: 100},
		})
	}
	return claimed, nil
}

func (inputFile) Read(context.Context, string, int64, int64) (io.ReadCloser, error) {
	var text strings.Builder
	for i := range linesOfSlice {
		fmt.Fprintf(&text, requestLine, i)
	}
	return io.NopCloser(strings.NewReader(text.String())), nil
}

func (s *oneBatch) RenewSlices(_ context.Context, claims []batch.SliceClaim, _ time.Duration) ([]batch.SliceClaim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed = make(map[int]bool)
	for _, c := range claims {
		s.renewed[c.Number] = true
	}
	s.renewals = append(s.renewals, time.Since(s.began))
	if s.away {
		return nil, errAway
	}
	return nil, nil
}

func (s *oneBatch) CommitResults(_ context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		for range w.Lines {
			s.commits = append(s.commits, time.Since(s.began))
		}
	}
	return nil, nil
}

func (s *oneBatch) ReleaseSlices(_ context.Context, released []batch.Release, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases = append(s.releases, time.Since(s.began))
	if len(s.releases) <= s.failing {
		return errAway
	}
	s.released = append(s.released, released...)
	return nil
}

// set changes the store.
func (s *oneBatch) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// answering is a dispatcher with one upstream. It records when lines are sent.
type answering struct {
	idlePool
	slots int
	began time.Time
	// answer returns the answer to a call, from 1, and how long it takes.
	answer func(call int) (batch.Answer, time.Duration)
	freed  chan struct{}

	mu    sync.Mutex
	taken int
	sent  []time.Duration // since began
}

func (p *answering) Freed() <-chan struct{} { return p.freed }
func (p *answering) Up(string) error        { return nil }
func (p *answering) Free(string) bool       { p.mu.Lock(); defer p.mu.Unlock(); return p.taken < p.slots }

func (p *answering) Reserve(string, string, func(string) bool) (batch.Slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == p.slots {
		return nil, batch.ErrBusy
	}
	p.taken++
	return p, nil
}

func (p *answering) Upstream() string { return "u" }

func (p *answering) Send(ctx context.Context, _ string, _ []byte) (batch.Answer, error) {
	p.mu.Lock()
	p.sent = append(p.sent, time.Since(p.began))
	call := len(p.sent)
	p.mu.Unlock()
	answer, takes := p.answer(call)
	select {
	case <-ctx.Done():
		return batch.Answer{}, ctx.Err()
	case <-time.After(takes):
		return answer, nil
	}
}

func (p *answering) Release() {
	p.mu.Lock()
	p.taken--
	p.mu.Unlock()
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

var fine = batch.Answer{Status: http.StatusOK, Body: []byte(`{"ok":true}`)}

// started returns a Scheduler that runs a batch in a bubble of synctest.
func started(cfg batch.Config, numberOfSlices, slots int, answer func(call int) (batch.Answer, time.Duration)) (*Scheduler, *oneBatch, *answering) {
	store := &oneBatch{slices: numberOfSlices, began: time.Now(), claimed: make(map[int]bool)}
	pool := &answering{slots: slots, began: time.Now(), answer: answer, freed: make(chan struct{}, 1)}
	d := dependencies(cfg)
	d.Store, d.Queue, d.Files, d.Dispatcher = store, forgetful{}, inputFile{}, pool
	d.Gateways = func() int { return 1 }
	s := New(d)
	s.Start()
	return s, store, pool
}

// forgetful is a queue that has lost all references.
type forgetful struct{ noQueue }

func (forgetful) Pop(context.Context, string, int) ([]int, error) { return nil, nil }
func (forgetful) Push(context.Context, string, []int) error       { return nil }
func (forgetful) Done(context.Context, string, []int) error       { return nil }

// inputFile is a file store in which each slice has the same lines.
type inputFile struct{ room }

func (s *Scheduler) end() {
	s.Drain(context.Background())
	s.Stop()
}

// A line that is refused with a retry time is sent again at that time. Other lines use its
// slot meanwhile.
func TestRetryWaitsWithoutASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, pool := started(batch.Config{}, 1, 1, func(call int) (batch.Answer, time.Duration) {
			if call == 1 {
				return batch.Answer{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"90"}}, Next: batch.Again}, time.Second
			}
			return fine, time.Second
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		s.end()
		if diff := cmp.Diff([]time.Duration{0, time.Second, 91 * time.Second}, pool.sent); diff != "" {
			t.Errorf("times of the calls (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]time.Duration{2 * time.Second, 92 * time.Second}, store.commits); diff != "" {
			t.Errorf("times of the commits (-want +got):\n%s", diff)
		}
	})
}

// Leases are renewed every LeaseRenew. A renewal that failed is repeated after
// renewPause, until the store is back.
func TestRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := batch.Config{Lease: 40 * time.Second, LeaseRenew: 10 * time.Second}
		s, store, _ := started(cfg, 1, linesOfSlice, func(int) (batch.Answer, time.Duration) { return fine, 35 * time.Second })
		time.Sleep(19*time.Second + 950*time.Millisecond)
		store.set(func() { store.away = true })
		time.Sleep(200 * time.Millisecond) // until 20.15 s
		store.set(func() { store.away = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.end()
		ms := time.Millisecond
		// The first two are regular. That of 20 s fails, and so does its repetition at
		// 20.1 s. The next one works, and the refresh that ends the outage renews as well.
		var got []time.Duration
		for _, at := range store.renewals {
			if got = append(got, at); at > 20200*ms {
				break
			}
		}
		if diff := cmp.Diff([]time.Duration{10000 * ms, 20000 * ms, 20100 * ms, 20200 * ms}, got[:min(4, len(got))]); diff != "" {
			t.Errorf("times of the renewals (-want +got):\n%s", diff)
		}
		if last := slices.Max(store.renewals); last > 35*time.Second {
			t.Errorf("last renewal: got after %s, want none after the last line was durable", last)
		}
	})
}

// A gateway that stops finishes the lines that run, and releases the others at once.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, pool := started(batch.Config{}, 3, 1, func(int) (batch.Answer, time.Duration) { return fine, 10 * time.Second })
		time.Sleep(time.Second)
		s.post(func() {}) // so that the loop is idle
		synctest.Wait()
		drained := make(chan time.Duration, 1)
		go func() {
			s.Drain(context.Background())
			drained <- time.Since(store.began)
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		store.set(func() {
			var kept, whole int
			for _, r := range store.released {
				if r.Keep != 0 {
					kept++
				} else {
					whole++
				}
			}
			if kept != 1 || whole != 2 {
				t.Errorf("released a second after the stop: got %d partial slices and %d whole, want 1 and 2", kept, whole)
			}
		})
		if got, want := <-drained, 10*time.Second; got != want {
			t.Errorf("drained after %s, want %s", got, want)
		}
		s.Stop()
		if len(pool.sent) != 1 || len(store.commits) != 1 {
			t.Errorf("got %d calls and %d commits, want 1 and 1", len(pool.sent), len(store.commits))
		}
		if s.side.Start(func(context.Context) {}) || s.lines.Start(func(context.Context) {}) {
			t.Error("after Stop a goroutine was started")
		}
	})
}

// Lines that do not end in the time to drain are aborted, and their slices released.
func TestDrainAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, _ := started(batch.Config{}, 1, linesOfSlice, func(int) (batch.Answer, time.Duration) { return fine, time.Hour })
		time.Sleep(time.Second)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s.Drain(ctx)
		if got, want := time.Since(store.began), 6*time.Second; got != want {
			t.Errorf("drained after %s, want %s", got, want)
		}
		s.Stop()
		if len(store.commits) != 0 || len(store.released) != 1 {
			t.Errorf("got %d commits and %d released slices, want 0 and 1", len(store.commits), len(store.released))
		}
	})
}
