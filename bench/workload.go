package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

const (
	workSlices = 8   // that one step claims
	workGroup  = 256 // lines of a commit, 32 of each slice
	workRecord = 700 // bytes of a result
)

// workload makes the calls of a busy engine to a store with a number of unfinished lines.
type workload struct {
	name           string
	store          batch.Store
	unfinishedWant int
	batchLines     int // a multiple of the slices that a step claims

	unfinished int
	made       int
	running    []string // batches with unfinished lines, whose turn is next first

	looks, claims, commits []time.Duration
}

// fill adds batches until the wanted number of lines is unfinished.
func (w *workload) fill(ctx context.Context) error {
	for w.unfinished < w.unfinishedWant {
		w.made++
		id := fmt.Sprintf("batch_%s_%d", w.name, w.made)
		if _, _, err := w.store.CreateBatch(ctx, batch.NewBatch{ID: id, Tenant: "default", Endpoint: "/v1/chat/completions", Window: 24 * time.Hour}); err != nil {
			return err
		}
		// Batches whose last line is done stay in finalizing: their rows remain on
		// both sides.
		claim, err := w.claimBatch(ctx, id)
		if err != nil {
			return err
		}
		plan := batch.Plan{Model: model, Lines: w.batchLines}
		for at := 0; at < w.batchLines; at += batch.SliceLines {
			plan.Slices = append(plan.Slices, batch.SlicePlan{Offset: int64(at) * 500, Length: batch.SliceLines * 500, FirstLine: at, Lines: batch.SliceLines})
		}
		if err := w.store.StartBatch(ctx, claim, plan); err != nil {
			return err
		}
		w.unfinished += w.batchLines
		w.running = append(w.running, id)
	}
	return nil
}

// claimBatch claims the batch that was just created. Other claimable batches stay claimed
// and are never finished.
func (w *workload) claimBatch(ctx context.Context, id string) (batch.BatchClaim, error) {
	for {
		c, err := w.store.ClaimBatch(ctx, "bench", 24*time.Hour, batch.Validate)
		if err != nil || c.Batch.ID == id {
			return c, err
		}
	}
}

// errWork reports an unexpected result of a store.
var errWork = errors.New("the store did not do what was expected")

// step finds slices of the current batch, claims them, and commits their lines in two
// groups.
func (w *workload) step(ctx context.Context) error {
	if err := w.fill(ctx); err != nil {
		return err
	}
	id := w.running[0]
	var numbers []int
	err := timed(&w.looks, func() (err error) {
		numbers, err = w.store.ClaimableSlices(ctx, id, workSlices)
		return err
	})
	if err != nil {
		return err
	}
	refs := make([]batch.SliceRef, len(numbers))
	for i, n := range numbers {
		refs[i] = batch.SliceRef{BatchID: id, Number: n}
	}
	var claimed []batch.Slice
	if err := timed(&w.claims, func() (err error) {
		claimed, err = w.store.ClaimSlices(ctx, batch.Claimant{Owner: "bench", Lease: time.Hour}, refs)
		return err
	}); err != nil {
		return err
	}
	if len(claimed) != workSlices {
		return fmt.Errorf("%w: %d slices claimed of %s", errWork, len(claimed), id)
	}
	for first := 0; first < batch.SliceLines; first += workGroup / workSlices {
		group := groupOf(claimed, first, workGroup/workSlices)
		var stale []batch.SliceClaim
		if err := timed(&w.commits, func() (err error) {
			stale, err = w.store.CommitResults(ctx, group)
			return err
		}); err != nil {
			return err
		}
		if len(stale) > 0 {
			return fmt.Errorf("%w: %d claims are stale", errWork, len(stale))
		}
		w.unfinished -= workGroup
	}
	last := claimed[len(claimed)-1]
	w.running = slices.Delete(w.running, 0, 1)
	if last.FirstLine+last.Lines < w.batchLines {
		w.running = append(w.running, id)
	}
	return nil
}

var workText = bytes.Repeat([]byte("x"), workRecord)

// groupOf is results of n lines of each slice, from line first on.
func groupOf(claimed []batch.Slice, first, n int) []batch.SegmentWrite {
	writes := make([]batch.SegmentWrite, len(claimed))
	for i, s := range claimed {
		writes[i].Claim = s.SliceClaim
		for l := range n {
			r := batch.LineResult{Index: first + l, Record: workText, Model: model}
			r.Usage.InputTokens, r.Usage.OutputTokens, r.Usage.TotalTokens = 100, 50, 150
			writes[i].Lines = append(writes[i].Lines, r)
		}
	}
	return writes
}

func timed(times *[]time.Duration, f func() error) error {
	begin := time.Now()
	err := f()
	*times = append(*times, time.Since(begin))
	return err
}
