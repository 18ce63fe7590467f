package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// limitPages limits the size of the database. Beyond it SQLite returns SQLITE_FULL, as
// on a full disk.
func limitPages(t *testing.T, s *Store, pages int) {
	t.Helper()
	if _, err := s.writer.db.ExecContext(t.Context(), fmt.Sprintf(`PRAGMA max_page_count(%d)`, pages)); err != nil {
		t.Fatal(err)
	}
}

// TestFull fills a database and frees space again. Meanwhile no operation is half
// done and reads work; afterwards all operations work.
func TestFull(t *testing.T) {
	path := databasePath(t)
	s := openStore(t, path)
	claimed := claimAll(t, s, makeRunning(t, s, "batch_1", 64*50))
	var pages int
	if err := s.writer.db.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limitPages(t, s, pages+50)

	record := bytes.Repeat([]byte("r"), 700)
	commit := func(c batch.Slice) error {
		w := batch.SegmentWrite{Claim: c.SliceClaim}
		for i := range c.Lines {
			w.Lines = append(w.Lines, batch.LineResult{Index: i, Record: record, Model: "tide-7b"})
		}
		stale, err := s.CommitResults(t.Context(), []batch.SegmentWrite{w})
		if err == nil && len(stale) > 0 {
			t.Fatalf("stale claims %v", stale)
		}
		return err
	}
	check := func(done int) {
		t.Helper()
		b, err := s.Batch(t.Context(), "acme", "batch_1")
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(64 * done); b.Counts.Completed != want {
			t.Fatalf("%d lines are counted, want %d", b.Counts.Completed, want)
		}
		for i, c := range claimed {
			results, err := s.Results(t.Context(), c.SliceRef)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{true: 64}[i < done]; len(results) != want {
				t.Fatalf("slice %d has %d results, want %d", i, len(results), want)
			}
		}
	}

	done := 0
	for ; done < len(claimed); done++ {
		if err := commit(claimed[done]); err != nil {
			if !errors.Is(err, batch.ErrNoSpace) {
				t.Fatalf("error is %v, want %v", err, batch.ErrNoSpace)
			}
			break
		}
	}
	if done == 0 || done == len(claimed) {
		t.Fatalf("%d of %d slices were committed before the database was full", done, len(claimed))
	}
	for range 5 { // as the committer does
		if err := commit(claimed[done]); !errors.Is(err, batch.ErrNoSpace) {
			t.Fatalf("error is %v, want %v", err, batch.ErrNoSpace)
		}
	}
	check(done)
	// Operations that need no space still work.
	lost, err := s.RenewSlices(t.Context(), []batch.SliceClaim{claimed[done].SliceClaim}, 0)
	if err != nil || len(lost) > 0 {
		t.Fatalf("renewing: %v, lost %v", err, lost)
	}

	limitPages(t, s, 1<<30)
	for ; done < len(claimed); done++ {
		if err := commit(claimed[done]); err != nil {
			t.Fatal(err)
		}
	}
	check(done)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(done)
	var verdict string
	if err := s.writer.db.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Fatalf("integrity: %v %s", err, verdict)
	}
}
