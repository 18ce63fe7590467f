package store

import (
	"errors"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestStale covers every state of a batch and a claim.
func TestStale(t *testing.T) {
	claim := batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: "batch_1"}, Attempt: 3}
	for _, c := range []struct {
		name           string
		status, ending batch.Status
		attempt        int
		want           bool
	}{
		{"running", batch.InProgress, "", 3, false},
		{"older attempt", batch.InProgress, "", 4, true},
		{"attempt that was never made", batch.InProgress, "", 2, true},
		{"last line done", batch.Finalizing, batch.Completed, 3, false},
		{"completed", batch.Completed, batch.Completed, 3, false},
		{"expiring", batch.Finalizing, batch.Expired, 3, true},
		{"expired", batch.Expired, batch.Expired, 3, true},
		{"cancelling", batch.Cancelling, batch.Cancelled, 3, true},
		{"cancelled", batch.Cancelled, batch.Cancelled, 3, true},
	} {
		s := &CommitSlice{Attempt: c.attempt, Lines: 1, Batch: &CommitBatch{Status: c.status, Ending: c.ending}}
		if got := Stale(claim, s); got != c.want {
			t.Errorf("%s: stale is %t, want %t", c.name, got, c.want)
		}
	}
	if !Stale(claim, nil) {
		t.Error("claim on a missing slice: got valid, want stale")
	}
}

// TestPlanCommitNumbers checks that segments of a slice have ascending numbers,
// independent of their contents.
func TestPlanCommitNumbers(t *testing.T) {
	b := &CommitBatch{Status: batch.InProgress, Counts: openai.RequestCounts{Total: 10}}
	s := &CommitSlice{Batch: b, Attempt: 1, Lines: 10}
	ref := batch.SliceRef{BatchID: "batch_1"}
	write := func(indices ...int) batch.SegmentWrite {
		w := batch.SegmentWrite{Claim: batch.SliceClaim{SliceRef: ref, Attempt: 1}}
		for _, i := range indices {
			w.Lines = append(w.Lines, batch.LineResult{Index: i})
		}
		return w
	}
	c, err := PlanCommit([]batch.SegmentWrite{write(4, 4), write(4), write(9, 0), write(1)}, map[batch.SliceRef]*CommitSlice{ref: s})
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, g := range c.Segments {
		numbers = append(numbers, g.Number)
	}
	if len(numbers) != 3 || numbers[0] != 0 || numbers[1] != 1 || numbers[2] != 3 {
		t.Errorf("segments are numbered %v", numbers)
	}
	if len(c.Slices) != 1 || len(c.Batches) != 1 || s.Left() != 6 || b.Counts.Completed != 4 || b.Status != batch.InProgress {
		t.Errorf("commit is %+v", c)
	}
}

func TestMetadataThatJSONCannotCarry(t *testing.T) {
	for _, m := range []map[string]string{{"k": "\xff"}, {"\xed\xa0\x80": "v"}} {
		if _, err := EncodeMetadata(m); !errors.Is(err, ErrNotUTF8) {
			t.Errorf("%q: error is %v, want %v", m, err, ErrNotUTF8)
		}
	}
}
