package redis

import (
	"slices"
	"sync"
	"testing"
	"time"
)

const aBatch = "batch_a"

// TestInstancesShareABatch pops with four instances while a fifth pushes: every number
// must be delivered, and finished ones must not be delivered again.
func TestInstancesShareABatch(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix()}
	pusher := open(t, cfg)
	const all = 2500 // more than one round trip
	var (
		instances sync.WaitGroup
		mu        sync.Mutex
		times     = make(map[int]int) // guarded by mu
	)
	total := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(times)
	}
	for range 4 {
		q := open(t, cfg)
		instances.Go(func() {
			for total() < all && t.Context().Err() == nil {
				numbers, err := q.Pop(t.Context(), aBatch, 7)
				if err == nil {
					err = q.Done(t.Context(), aBatch, numbers)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, n := range numbers {
					times[n]++
				}
				mu.Unlock()
			}
		})
	}
	must(t, pusher.Push(t.Context(), aBatch, upTo(all)))
	instances.Wait()
	for n, count := range times {
		if count != 1 {
			t.Errorf("%d was delivered %d times", n, count)
		}
	}
	key := cfg.stream(aBatch)
	if length := do(t, shared, "XLEN", key); length != int64(0) {
		t.Errorf("%v entries are left", length)
	}
}

// TestDeadInstanceIsTakenOver checks that all entries of a dead instance are claimed, even
// if more are pending than one step examines.
func TestDeadInstanceIsTakenOver(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix(), Idle: 50 * time.Millisecond}
	dead := New(cfg)
	must(t, dead.Open(t.Context()))
	must(t, dead.Push(t.Context(), aBatch, upTo(300)))
	want(t, drainFor(t, dead, 300), upTo(300))
	must(t, dead.Close())

	live := open(t, cfg)
	var all []int
	eventually(t, "all were taken over", func() bool {
		got, err := live.Pop(t.Context(), aBatch, 3)
		must(t, err)
		must(t, live.Done(t.Context(), aBatch, got))
		all = append(all, got...)
		return len(all) >= 300
	})
	slices.Sort(all)
	want(t, all, upTo(300))
	want(t, drain(t, live, aBatch), nil)
}

// drainFor pops n numbers in one go.
func drainFor(t *testing.T, q *Queue, n int) []int {
	t.Helper()
	got, err := q.Pop(t.Context(), aBatch, n)
	must(t, err)
	slices.Sort(got)
	return got
}

// TestIdleBehindBusyIsFound checks that an idle entry after many busy ones is found.
func TestIdleBehindBusyIsFound(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix()}
	busy := open(t, cfg)
	must(t, busy.Push(t.Context(), aBatch, upTo(500)))
	drainFor(t, busy, 500)
	last := busy.popped.take(aBatch, []int{499})
	do(t, shared, "XCLAIM", cfg.stream(aBatch), group, "dead", "0", last[0].id, "IDLE", "3600000")
	other := open(t, cfg)
	want(t, drain(t, other, aBatch), []int{499})
}

// TestDoneAfterTakeOver checks that work that takes longer than the idle time is delivered
// again, and that Done of the first instance removes it.
func TestDoneAfterTakeOver(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix(), Idle: time.Millisecond}
	slow, quick := open(t, cfg), open(t, cfg)
	must(t, slow.Push(t.Context(), aBatch, []int{1}))
	want(t, drainFor(t, slow, 1), []int{1})
	eventually(t, "the other was given it too", func() bool {
		got, err := quick.Pop(t.Context(), aBatch, 1)
		must(t, err)
		return len(got) == 1
	})
	must(t, slow.Done(t.Context(), aBatch, []int{1}))
	must(t, quick.Done(t.Context(), aBatch, []int{1}))
	if length := do(t, shared, "XLEN", cfg.stream(aBatch)); length != int64(0) {
		t.Errorf("%v entries are left", length)
	}
}

// TestGivenBack checks that a released number is delivered once, to another instance, at
// once.
func TestGivenBack(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix()}
	one, two := open(t, cfg), open(t, cfg)
	must(t, one.Push(t.Context(), aBatch, []int{1, 2}))
	want(t, drainFor(t, one, 2), []int{1, 2})
	must(t, one.Push(t.Context(), aBatch, []int{2}))
	want(t, drain(t, two, aBatch), []int{2})
	if length := do(t, shared, "XLEN", cfg.stream(aBatch)); length != int64(2) {
		t.Errorf("there are %v entries for 2 numbers", length)
	}
}

func TestForgottenBatchExpires(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix(), TTL: time.Hour}
	q := open(t, cfg)
	ttl := func() int64 { return do(t, shared, "TTL", cfg.stream(aBatch)).(int64) }
	for range 2 {
		must(t, q.Push(t.Context(), aBatch, []int{1}))
		if left := ttl(); left < 59*60 || left > 60*60 {
			t.Errorf("the stream lives for %d s", left)
		}
		do(t, shared, "PEXPIRE", cfg.stream(aBatch), "60000") // time passes
	}
	must(t, q.Drop(t.Context(), aBatch))
	if n := do(t, shared, "EXISTS", cfg.stream(aBatch)); n != int64(0) {
		t.Error("a dropped batch has a key")
	}
	want(t, drain(t, q, aBatch), nil)
	if n := do(t, shared, "EXISTS", cfg.stream(aBatch)); n != int64(0) {
		t.Error("asking for a batch that is gone made a key")
	}
}

func TestPrefixesAreApart(t *testing.T) {
	one := open(t, Config{Server: serverOf(t, shared), Prefix: prefix()})
	two := open(t, Config{Server: serverOf(t, shared), Prefix: prefix()})
	must(t, one.Push(t.Context(), aBatch, []int{1}))
	want(t, drain(t, two, aBatch), nil)
	want(t, drain(t, one, aBatch), []int{1})
}
