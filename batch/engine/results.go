package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"

	"github.com/tidegate/tidegate/batch"
)

// Kinds of files that hold results.
const (
	outputKind = "output"
	errorKind  = "error"
)

func resultsName(batchID, kind string) string { return batchID + "_" + kind + ".jsonl" }

// ResultsName returns the name of a batch's output file, or of its error file if failed is
// set.
func ResultsName(batchID string, failed bool) string {
	if failed {
		return resultsName(batchID, errorKind)
	}
	return resultsName(batchID, outputKind)
}

// BatchOfResults returns the batch whose output or error file has this name, "" for any
// other name.
func BatchOfResults(name string) string {
	for _, kind := range []string{outputKind, errorKind} {
		if id, ok := strings.CutSuffix(name, resultsName("", kind)); ok {
			return id
		}
	}
	return ""
}

// Results are the lines of a batch's output or error file.
type Results struct {
	io.ReadCloser
	Bytes int64 // -1 while the batch runs: not known before they are read
}

// Results returns the results of a batch so far, in input order: committed results while it
// runs, and its files after its end. If failed is true, it returns the lines of the error
// file instead of the output file. It returns ErrNotFound for an unknown batch, and for one
// that ended without such lines.
func (r *lineReader) Results(ctx context.Context, tenant, id string, failed bool) (Results, error) {
	b, err := r.store.Batch(ctx, tenant, id)
	if err != nil {
		return Results{}, err
	}
	if !b.Status.Terminal() {
		return Results{&soFar{ctx: ctx, store: r.store, batchID: id, failed: failed, total: int(b.Counts.Total)}, -1}, nil
	}
	fileID := b.OutputFileID
	if failed {
		fileID = b.ErrorFileID
	}
	if fileID == "" {
		return Results{}, batch.ErrNotFound
	}
	f, c, err := batch.OpenFile(ctx, r.store, r.files, tenant, fileID)
	if err != nil {
		return Results{}, err
	}
	return Results{c, f.Bytes}, nil
}

// soFar reads committed results, a slice at a time.
type soFar struct {
	ctx     context.Context // ends all reading; io.Reader leaves no other way to pass it
	store   batch.Store
	batchID string
	failed  bool
	total   int // lines of the batch

	slices []batch.Slice // to be read next
	next   int           // number of the slice behind them
	passed int           // lines of slices that were read
	text   []byte        // of a slice, not handed out yet
}

// ErrEndedMeanwhile is for a reader whose slices, or their results, went with the
// end of the batch.
var ErrEndedMeanwhile = errors.New("the batch ended while its results were read: its files have them")

// Read implements io.Reader.
func (s *soFar) Read(p []byte) (int, error) {
	for len(s.text) == 0 {
		if err := s.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.text)
	s.text = s.text[n:]
	return n, nil
}

// Close implements io.Closer.
func (s *soFar) Close() error { return nil }

// load reads the results of the next slice.
func (s *soFar) load() error {
	if len(s.slices) == 0 {
		plans, err := s.store.Slices(s.ctx, s.batchID, s.next, finalizeSlices)
		if err != nil {
			return fmt.Errorf("listing slices: %w", err)
		}
		if len(plans) == 0 {
			if s.passed < s.total {
				return ErrEndedMeanwhile
			}
			return io.EOF
		}
		s.slices, s.next = plans, plans[len(plans)-1].Number+1
	}
	first := s.slices[0]
	s.slices = s.slices[1:]
	s.passed += first.Lines
	if first.Done == 0 {
		return nil
	}
	results, err := s.store.Results(s.ctx, first.SliceRef)
	if err != nil {
		return fmt.Errorf("reading results: %w", err)
	}
	if len(results) < bits.OnesCount64(first.Done) {
		return ErrEndedMeanwhile
	}
	for _, r := range results {
		if r.Failed == s.failed {
			s.text = append(append(s.text, r.Record...), '\n')
		}
	}
	return nil
}
