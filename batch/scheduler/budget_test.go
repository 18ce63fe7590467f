package scheduler

import (
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// TestBudgetKeys checks how much of the memory limit the keys of a batch may take. It finds
// batches whose keys together take more than the documented part.
func TestBudgetKeys(t *testing.T) {
	const quarter = 1000
	for name, tt := range map[string]struct {
		own, others, loading int64
		sharers              int
		want                 int64
	}{
		"alone":                            {0, 0, 0, 1, quarter},
		"alone, with a window":             {quarter, 0, 0, 1, quarter},
		"one of four":                      {0, 750, 0, 4, 250},
		"another one began alone":          {0, quarter, 0, 2, 0},
		"some of that has ended":           {100, 700, 0, 2, 300},
		"others are being loaded":          {0, 700, 200, 2, 100},
		"the limit was lowered since then": {0, 5 * quarter, 0, 2, 0},
	} {
		b := budget{limit: func() int64 { return keysPart * quarter }, loading: holding{keys: tt.loading}}
		q, other := newBatchQueue(batch.Batch{}), newBatchQueue(batch.Batch{})
		b.add(q, holding{keys: tt.own, requests: 9, reading: 8})
		b.add(other, holding{keys: tt.others, requests: 7, reading: 6})
		if got := b.keys(q, tt.sharers); got != tt.want {
			t.Errorf("%s: got %d bytes, want %d", name, got, tt.want)
		}
	}
}

// TestBudgetSum checks that batches that come one after the other, and each fill their windows,
// have at most the part for keys together, and that each gets its share when the first ones have
// run what they had.
func TestBudgetSum(t *testing.T) {
	const limit, batches = 4000, 8
	b := budget{limit: func() int64 { return limit }}
	var queues []*batchQueue
	fill := func() {
		for _, q := range queues {
			if more := b.keys(q, len(queues)) - q.held.keys; more > 0 {
				b.add(q, holding{keys: more})
			}
		}
	}
	for range batches {
		queues = append(queues, newBatchQueue(batch.Batch{}))
		fill()
		if b.used.keys > limit/keysPart {
			t.Fatalf("%d batches: got %d bytes of keys, want at most %d", len(queues), b.used.keys, limit/keysPart)
		}
	}
	for range 20 {
		for _, q := range queues {
			b.add(q, holding{keys: -q.held.keys / 2})
		}
		fill()
	}
	for i, q := range queues {
		if want := int64(limit / keysPart / batches); q.held.keys != want {
			t.Errorf("batch %d: got %d bytes of keys at the end, want %d", i, q.held.keys, want)
		}
	}
}

// TestBudgetRequests checks which deferred requests fit beside what is in memory. It finds a
// quarter that is not left to other lines, loads that are not counted, and a batch that stops.
func TestBudgetRequests(t *testing.T) {
	const limit = 8 * batch.SliceBytes
	for name, tt := range map[string]struct {
		used    holding // by another batch
		loading holding
		own     int64 // bytes of deferred requests that run
		running int
		reads   int64
		want    bool
	}{
		"there is room":                         {running: 9, own: batch.SliceBytes, reads: 100, want: true},
		"it is all there is for such requests":  {running: 9, own: 2 * batch.SliceBytes, reads: 4 * batch.SliceBytes, want: true},
		"a quarter is left":                     {running: 9, own: 2 * batch.SliceBytes, reads: 4*batch.SliceBytes + 1},
		"requests of other lines take it":       {used: holding{requests: 5 * batch.SliceBytes}, running: 9, own: 2 * batch.SliceBytes, reads: batch.SliceBytes + 1},
		"keys take it":                          {used: holding{keys: 5 * batch.SliceBytes}, running: 9, own: 2 * batch.SliceBytes, reads: batch.SliceBytes + 1},
		"it is being loaded":                    {loading: holding{requests: 2 * batch.SliceBytes, keys: batch.SliceBytes}, running: 9, own: 2 * batch.SliceBytes, reads: batch.SliceBytes, want: true},
		"a little more is being loaded":         {loading: holding{requests: 2 * batch.SliceBytes, keys: batch.SliceBytes + 1}, running: 9, own: 2 * batch.SliceBytes, reads: batch.SliceBytes},
		"the limit was lowered":                 {used: holding{keys: 2 * limit}, running: 9, own: batch.SliceBytes, reads: 1},
		"a slice always runs":                   {used: holding{keys: 2 * limit}, running: 9, own: batch.SliceBytes - 1, reads: 1, want: true},
		"so does one line, however large it is": {used: holding{keys: 2 * limit}, reads: 2 * limit, want: true},
		"a request in memory":                   {used: holding{requests: 2 * limit}, running: 9, own: limit, want: true},
	} {
		b := budget{limit: func() int64 { return limit }, loading: tt.loading}
		q := newBatchQueue(batch.Batch{})
		q.running = tt.running
		b.add(newBatchQueue(batch.Batch{}), tt.used)
		b.add(q, holding{reading: tt.own})
		if got := b.guarantees(q, tt.reads) || b.fits(tt.reads); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}
