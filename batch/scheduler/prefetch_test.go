package scheduler

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
)

// slicesOf is a store of batches, each with any number of slices of lines of a length.
type slicesOf struct {
	batch.Store
	lines, length int

	mu      sync.Mutex
	claimed map[string]int // slices by batch
}

func (s *slicesOf) InputFile(_ context.Context, id string) (batch.File, error) {
	return batch.File{Key: id}, nil
}

func (s *slicesOf) LapsedSlices(context.Context, string, int) ([]int, error) { return nil, nil }

func (s *slicesOf) ClaimableSlices(_ context.Context, id string, limit int) (numbers []int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range limit {
		s.claimed[id]++
		numbers = append(numbers, s.claimed[id])
	}
	return numbers, nil
}

func (s *slicesOf) ClaimSlices(_ context.Context, _ batch.Claimant, refs []batch.SliceRef) (claimed []batch.Slice, err error) {
	for _, ref := range refs {
		length := int64(s.lines * s.length)
		claimed = append(claimed, batch.Slice{
			SliceClaim: batch.SliceClaim{SliceRef: ref, Attempt: 1},
			SlicePlan:  batch.SlicePlan{Offset: int64(ref.Number) * length, FirstLine: ref.Number * s.lines, Lines: s.lines, Length: length},
		})
	}
	return claimed, nil
}

// linesOf is a file store in which all lines have a length, and no two have a common prefix.
type linesOf struct {
	room
	length int
}

func (f linesOf) Read(_ context.Context, _ string, offset, length int64) (io.ReadCloser, error) {
	var text strings.Builder
	for i := range int(length) / f.length {
		number := int(offset)/f.length + i
		line := fmt.Sprintf(requestLine, number)
		prompt := fmt.Sprint(number) + strings.Repeat("-", f.length)
		text.WriteString(strings.Replace(line, "hi", prompt[:f.length-len(line)+len("hi")], 1))
	}
	return io.NopCloser(strings.NewReader(text.String())), nil
}

// TestLoadsShareMemory checks that loads of several batches that are in progress at the same
// time add no more than the memory limit together. It finds loads that do not know of each
// other, and such that read more than was reserved for them: a slice of one long line is larger
// than others, and short requests take more than what is kept of those that are deferred.
func TestLoadsShareMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		lines, length int
		deferred      bool
		limit         int64
	}{
		"requests":              {batch.SliceLines, batch.SliceBytes / batch.SliceLines, false, 1 << 20},
		"long requests":         {1, 5 * batch.SliceBytes / 2, false, 2 << 20},
		"deferred requests":     {batch.SliceLines, batch.SliceBytes / batch.SliceLines, true, 9 * batch.SliceLines * deferredBytes / 2},
		"requests not deferred": {batch.SliceLines, 2*deferredBytes - 1, true, 9 * batch.SliceLines * deferredBytes / 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := dependencies(batch.Config{MemoryBytes: tt.limit, MaxInFlight: 256})
			d.Store = &slicesOf{lines: tt.lines, length: tt.length, claimed: make(map[string]int)}
			d.Queue, d.Files, d.Dispatcher = forgetful{}, linesOf{length: tt.length}, idlePool{}
			s := New(d)
			s.side = background.NewGroup(t.Context())
			var queues []*batchQueue
			for i := range 4 {
				// A batch that has nothing in memory may read a slice in any case.
				q := loadedSlice(s.queues, fmt.Sprint(i), 0, 1, 1).batchQueue
				q.batch.Endpoint, q.deferring = "/v1/chat/completions", tt.deferred
				queues = append(queues, q)
			}
			for range 4 { // slices that were claimed and did not fit are read later
				for _, q := range queues {
					s.prefetchBatch(q, 256, len(queues), false, time.Now())
				}
				s.side.WaitIdle()
				s.deliver()
				if used := s.queues.budget.used.bytes(); used > tt.limit {
					t.Fatalf("got %d bytes in memory, want at most %d", used, tt.limit)
				}
				if s.queues.budget.loading != (holding{}) {
					t.Fatalf("got %+v reserved after the loads, want nothing", s.queues.budget.loading)
				}
			}
			if used := s.queues.budget.used.bytes(); used < tt.limit/2 {
				t.Errorf("got %d bytes in memory, want most of %d", used, tt.limit)
			}
		})
	}
}

// hanging is a file store whose reads end with their context.
type hanging struct{ room }

func (hanging) Read(ctx context.Context, _ string, _, _ int64) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestHangingLoad checks that a load that hangs does not hold up lines of another batch whose
// requests are deferred: after slowLoad it has no more memory than the slice that it reads. It
// finds lines that do not start for as long as a read of another batch hangs.
func TestHangingLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, size = 8 * batch.SliceBytes, batch.SliceBytes * 3 / 4
		d := dependencies(batch.Config{MemoryBytes: limit})
		d.Store = &slicesOf{lines: 1, length: batch.SliceBytes, claimed: make(map[string]int)}
		d.Queue, d.Files, d.Dispatcher = forgetful{}, hanging{}, &slotPool{slots: map[string]int{"m": 100}}
		s := New(d)
		s.side = background.NewGroup(t.Context())
		hangs := newBatchQueue(batch.Batch{ID: "a", Model: "m"})
		s.queues.byID["a"] = hangs
		deferredSlice(s.queues, "b", 1, 20, size)
		start := func() (n int) {
			for startNext(s) != nil {
				n++
			}
			return n
		}
		s.load(hangs, loadRequest{slices: 10, memory: s.queues.budget.room()})
		synctest.Wait()
		if got, want := start(), 1; got != want {
			t.Errorf("at the begin of the load: got %d lines started, want %d", got, want)
		}
		s.deadlines.run(time.Now().Add(slowLoad))
		if got, want := s.queues.budget.loading, (holding{requests: batch.SliceBytes}); got != want {
			t.Errorf("after %s: got %+v reserved, want %+v", slowLoad, got, want)
		}
		// One slice is being read, and a fourth of the limit is left to loads.
		if got, want := start(), (limit-limit/keysPart-batch.SliceBytes)/size-1; got != want {
			t.Errorf("after %s: got %d lines started, want %d", slowLoad, got, want)
		}
		s.side.Stop()
		s.side.WaitIdle()
		s.deliver()
		if s.queues.budget.loading != (holding{}) || len(hangs.unread) != 10 {
			t.Errorf("after its end: got %+v reserved, %d slices unread, want nothing, 10", s.queues.budget.loading, len(hangs.unread))
		}
	})
}
