package sqlite

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// makeRunning makes a running batch of the given number of lines.
func makeRunning(tb testing.TB, s *Store, id string, lines int) []batch.SliceRef {
	tb.Helper()
	ctx := tb.Context()
	if _, _, err := s.CreateBatch(ctx, batch.NewBatch{ID: id, Tenant: "acme", Endpoint: "/v1/chat/completions", Window: 24 * time.Hour}); err != nil {
		tb.Fatal(err)
	}
	c, err := s.ClaimBatch(ctx, "batch worker", time.Hour, batch.Validate)
	if err != nil {
		tb.Fatal(err)
	}
	p := batch.Plan{Model: "tide-7b", Lines: lines}
	for at := 0; at < lines; at += batch.SliceLines {
		n := min(batch.SliceLines, lines-at)
		p.Slices = append(p.Slices, batch.SlicePlan{Offset: int64(at) * 500, Length: int64(n) * 500, FirstLine: at, Lines: n})
	}
	if err := s.StartBatch(ctx, c, p); err != nil {
		tb.Fatal(err)
	}
	refs := make([]batch.SliceRef, len(p.Slices))
	for i := range refs {
		refs[i] = batch.SliceRef{BatchID: id, Number: i}
	}
	return refs
}

// claimAll claims slices.
func claimAll(tb testing.TB, s *Store, refs []batch.SliceRef) []batch.Slice {
	tb.Helper()
	claimed, err := s.ClaimSlices(tb.Context(), batch.Claimant{Owner: "worker", Lease: time.Hour}, refs)
	if err != nil {
		tb.Fatal(err)
	}
	if len(claimed) != len(refs) {
		tb.Fatalf("claimed %d of %d slices", len(claimed), len(refs))
	}
	return claimed
}

// BenchmarkCommit commits groups of 256 lines of 8 slices, 32 of each, with
// records of 700 bytes, as a busy gateway does.
func BenchmarkCommit(b *testing.B) {
	const slices, lines = 8, 32
	s := openStore(b, databasePath(b))
	record := bytes.Repeat([]byte("x"), 700)
	var (
		claimed []batch.Slice
		half    int
		batches int
	)
	committed := 0
	for b.Loop() {
		if len(claimed) == 0 {
			b.StopTimer()
			batches++
			claimed = claimAll(b, s, makeRunning(b, s, fmt.Sprintf("batch_%d", batches), 50_000)[:780])
			half = 0
			b.StartTimer()
		}
		n := min(slices, len(claimed))
		writes := make([]batch.SegmentWrite, n)
		for i, c := range claimed[:n] {
			writes[i].Claim = c.SliceClaim
			for l := range lines {
				r := batch.LineResult{Index: half*lines + l, Record: record, Model: "tide-7b"}
				r.Usage.InputTokens, r.Usage.OutputTokens, r.Usage.TotalTokens = 100, 50, 150
				writes[i].Lines = append(writes[i].Lines, r)
			}
		}
		stale, err := s.CommitResults(b.Context(), writes)
		if err != nil || len(stale) > 0 {
			b.Fatalf("%v, %d stale claims", err, len(stale))
		}
		committed += n * lines
		if half++; half == 2 {
			claimed, half = claimed[n:], 0
		}
	}
	b.ReportMetric(float64(committed)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkClaim finds 8 slices, claims and releases them, in batches whose first half
// is finished.
func BenchmarkClaim(b *testing.B) {
	for _, lines := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("lines=%d", lines), func(b *testing.B) {
			s := openStore(b, databasePath(b))
			refs := makeRunning(b, s, "batch_1", lines)
			finishSlices(b, s, refs[:len(refs)/2])
			for b.Loop() {
				numbers, err := s.ClaimableSlices(b.Context(), "batch_1", 8)
				if err != nil {
					b.Fatal(err)
				}
				free := make([]batch.SliceRef, len(numbers))
				for i, n := range numbers {
					free[i] = batch.SliceRef{BatchID: "batch_1", Number: n}
				}
				claims := make([]batch.Release, len(free))
				for i, c := range claimAll(b, s, free) {
					claims[i].SliceClaim = c.SliceClaim
				}
				if err := s.ReleaseSlices(b.Context(), claims, time.Minute); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func finishSlices(tb testing.TB, s *Store, refs []batch.SliceRef) {
	tb.Helper()
	for _, c := range claimAll(tb, s, refs) {
		w := batch.SegmentWrite{Claim: c.SliceClaim}
		for i := range c.Lines {
			w.Lines = append(w.Lines, batch.LineResult{Index: i, Record: []byte("{}")})
		}
		if _, err := s.CommitResults(tb.Context(), []batch.SegmentWrite{w}); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkStart starts a batch of 50,000 lines in 782 slices.
func BenchmarkStart(b *testing.B) {
	s := openStore(b, databasePath(b))
	n := 0
	for b.Loop() {
		n++
		makeRunning(b, s, fmt.Sprintf("batch_%d", n), 50_000)
	}
}

// BenchmarkPage reads a page of 20 batches out of 100,000.
func BenchmarkPage(b *testing.B) {
	const batches = 100_000
	s := openStore(b, databasePath(b))
	if err := s.write(b.Context(), "making batches", func(t *tx) error {
		for i := range batches {
			if _, err := one(b.Context(), t, insertBatch, store.ScanBatch, fmt.Sprintf("batch_%d", i), "acme", "/v1/chat/completions", "file-1", nil, "24h",
				nil, 0, 0, "", "", store.Micros(t.now), store.Micros(t.now)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for _, after := range []string{"", "batch_50000", "batch_30"} {
		b.Run("after="+after, func(b *testing.B) {
			for b.Loop() {
				page, more, err := s.Batches(b.Context(), "acme", batch.BatchQuery{After: after, Limit: 20})
				if err != nil || len(page) != 20 || !more {
					b.Fatalf("%d batches, more %t, %v", len(page), more, err)
				}
			}
		})
	}
}
