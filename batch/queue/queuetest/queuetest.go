// Package queuetest is the conformance suite of batch.Queue. It requires at-least-once
// delivery: a number may be delivered twice and in any order.
package queuetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// patience limits the time of a wake-up through a server.
const patience = 10 * time.Second

// Run checks that a driver implements the contract of batch.Queue. open returns an open
// and empty queue, and closes it when the test ends.
func Run(t *testing.T, open func(t *testing.T) batch.Queue) {
	for _, c := range []struct {
		name string
		test func(*testing.T, batch.Queue)
	}{
		{"all that is pushed is popped", testPushPop},
		{"pop returns at most the requested number", testLimit},
		{"an empty queue is no error", testEmpty},
		{"batches are apart", testApart},
		{"what was popped can be pushed again", testPushAgain},
		{"what is done does not come again", testDone},
		{"dropped is forgotten", testDrop},
		{"push and notify wake", testWake},
		{"concurrent use loses nothing", testConcurrent},
		{"ping", func(t *testing.T, q batch.Queue) { must(t, q.Ping(t.Context())) }},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// drain pops until the queue is empty, and returns the distinct numbers, sorted.
func drain(t *testing.T, q batch.Queue, batchID string, chunk int) []int {
	t.Helper()
	var all []int
	for {
		got, err := q.Pop(t.Context(), batchID, chunk)
		must(t, err)
		if len(got) > chunk {
			t.Fatalf("popped %d numbers, want at most %d", len(got), chunk)
		}
		if len(got) == 0 {
			slices.Sort(all)
			return slices.Compact(all)
		}
		all = append(all, got...)
	}
}

func want(t *testing.T, want, got []int) {
	t.Helper()
	if len(want) == 0 && len(got) == 0 {
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
}

func testPushPop(t *testing.T, q batch.Queue) {
	must(t, q.Push(t.Context(), "batch_a", upTo(1000)))
	must(t, q.Push(t.Context(), "batch_a", []int{1000}))
	must(t, q.Push(t.Context(), "batch_a", nil))
	want(t, upTo(1001), drain(t, q, "batch_a", 7))
}

func testLimit(t *testing.T, q batch.Queue) {
	must(t, q.Push(t.Context(), "batch_a", upTo(10)))
	got, err := q.Pop(t.Context(), "batch_a", 3)
	must(t, err)
	if len(got) == 0 || len(got) > 3 {
		t.Errorf("got %v, want 3 numbers", got)
	}
	rest := append(got, drain(t, q, "batch_a", 100)...)
	slices.Sort(rest)
	want(t, upTo(10), slices.Compact(rest))
}

func testEmpty(t *testing.T, q batch.Queue) {
	want(t, nil, drain(t, q, "batch_unknown", 10))
	must(t, q.Done(t.Context(), "batch_unknown", []int{1, 2}))
	must(t, q.Done(t.Context(), "batch_unknown", nil))
	must(t, q.Drop(t.Context(), "batch_unknown"))
}

func testApart(t *testing.T, q batch.Queue) {
	must(t, q.Push(t.Context(), "batch_a", []int{1, 2}))
	must(t, q.Push(t.Context(), "batch_b", []int{2, 3}))
	must(t, q.Drop(t.Context(), "batch_a"))
	want(t, nil, drain(t, q, "batch_a", 10))
	want(t, []int{2, 3}, drain(t, q, "batch_b", 10))
}

func testPushAgain(t *testing.T, q batch.Queue) {
	for range 3 {
		must(t, q.Push(t.Context(), "batch_a", []int{4, 5}))
		want(t, []int{4, 5}, drain(t, q, "batch_a", 10))
	}
}

func testDone(t *testing.T, q batch.Queue) {
	must(t, q.Push(t.Context(), "batch_a", []int{1, 2, 3}))
	want(t, []int{1, 2, 3}, drain(t, q, "batch_a", 10))
	must(t, q.Done(t.Context(), "batch_a", []int{1, 2, 3}))
	want(t, nil, drain(t, q, "batch_a", 10))
	must(t, q.Done(t.Context(), "batch_a", []int{1, 2, 3}))
	must(t, q.Push(t.Context(), "batch_a", []int{4}))
	want(t, []int{4}, drain(t, q, "batch_a", 10))
}

func testDrop(t *testing.T, q batch.Queue) {
	must(t, q.Push(t.Context(), "batch_a", upTo(100)))
	if _, err := q.Pop(t.Context(), "batch_a", 10); err != nil {
		t.Fatal(err)
	}
	must(t, q.Drop(t.Context(), "batch_a"))
	want(t, nil, drain(t, q, "batch_a", 10))
	must(t, q.Done(t.Context(), "batch_a", upTo(10)))
	must(t, q.Push(t.Context(), "batch_a", []int{1}))
	want(t, []int{1}, drain(t, q, "batch_a", 10))
}

func testWake(t *testing.T, q batch.Queue) {
	for name, ring := range map[string]func(context.Context) error{
		"push":   func(ctx context.Context) error { return q.Push(ctx, "batch_a", []int{1}) },
		"notify": q.Notify,
	} {
		must(t, ring(t.Context()))
		select {
		case <-q.Wake():
		case <-time.After(patience):
			t.Errorf("%s did not wake the receiver", name)
		}
	}
	for range 1000 { // must not block without a receiver
		must(t, q.Notify(t.Context()))
	}
}

func testConcurrent(t *testing.T, q batch.Queue) {
	const pushers, each = 4, 250
	var pushing, popping sync.WaitGroup
	pushed := make(chan struct{})
	for p := range pushers {
		pushing.Go(func() {
			for i := range each {
				if err := q.Push(t.Context(), "batch_a", []int{p*each + i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var mu sync.Mutex
	got := make(map[int]int) // guarded by mu
	for range 4 {
		popping.Go(func() {
			for last := false; ; {
				select {
				case <-pushed:
					last = true // one more empty answer is the end
				default:
				}
				numbers, err := q.Pop(t.Context(), "batch_a", 10)
				if err == nil {
					err = q.Done(t.Context(), "batch_a", numbers)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if last && len(numbers) == 0 {
					return
				}
				mu.Lock()
				for _, n := range numbers {
					got[n]++
				}
				mu.Unlock()
			}
		})
	}
	pushing.Wait()
	close(pushed)
	popping.Wait()
	for n := range pushers * each {
		if got[n] == 0 {
			t.Errorf("%d was lost", n)
		}
	}
}
