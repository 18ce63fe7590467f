package engine

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/bits"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// finalizeSlices limits the slices that are listed at a time.
const finalizeSlices = 256

// finalizer ends batches: it writes their files.
type finalizer struct {
	*parts
	validator *validator
}

// finalize writes the files of a batch and ends it. It can be repeated. The files of an
// attempt that failed because the batch was cancelled or deleted are deleted at once. Those of
// an attempt with an unknown outcome are orphans, which the cleaner removes.
func (fin *finalizer) finalize(ctx context.Context, c batch.BatchClaim) error {
	b := c.Batch
	ttl := b.OutputTTL
	if ttl == 0 {
		ttl = fin.config().OutputTTL
	}
	w := resultWriter{
		output: resultFile{parts: fin.parts, batch: b, ttl: ttl, kind: outputKind},
		errors: resultFile{parts: fin.parts, batch: b, ttl: ttl, kind: errorKind},
		index:  indexWriter{file: resultFile{parts: fin.parts, batch: b, ttl: ttl, kind: "index"}, version: fin.config().Version},
	}
	defer w.output.abort()
	defer w.errors.abort()
	defer w.index.file.abort()
	defer func() {
		for _, h := range w.holds() {
			h.Release()
		}
	}()

	var outcome batch.Outcome
	named := false // a row may name the files
	defer func() {
		if !named {
			fin.discardOutcome(ctx, b, outcome)
		}
	}()
	var err error
	if b.Ending == batch.Cancelled && b.InProgressAt.IsZero() {
		outcome.Lines, err = fin.writeUnplanned(ctx, b, &w)
	} else {
		err = fin.writeSlices(ctx, b, &w)
	}
	if err != nil {
		return err
	}
	if outcome.Output, err = w.output.commit(ctx); err != nil {
		return fmt.Errorf("storing output file: %w", err)
	}
	if outcome.Error, err = w.errors.commit(ctx); err != nil {
		return fmt.Errorf("storing error file: %w", err)
	}
	if outcome.Index, err = w.index.commit(ctx); err != nil {
		return fmt.Errorf("storing index of lines: %w", err)
	}
	err = fin.arriving.Record(func() error { return fin.store.FinishBatch(ctx, c, outcome) }, w.holds()...)
	named = !errors.Is(err, batch.ErrStale)
	if err != nil {
		return fmt.Errorf("finishing batch: %w", err)
	}
	return nil
}

// discardOutcome deletes the contents of an outcome that no row names. What cannot be
// deleted is an orphan.
func (fin *finalizer) discardOutcome(ctx context.Context, b batch.Batch, o batch.Outcome) {
	bounded, cancel := fin.bounded(context.WithoutCancel(ctx))
	defer cancel()
	for _, f := range []*batch.NewFile{o.Output, o.Error, o.Index} {
		if f == nil {
			continue
		}
		if err := fin.files.Delete(bounded, f.Key); err != nil {
			fin.log.Warn("removing results that are not needed", zap.String("batch_id", b.ID), zap.String("key", f.Key), zap.Error(err))
		}
	}
}

// writeSlices writes the results of all slices, in input order.
func (fin *finalizer) writeSlices(ctx context.Context, b batch.Batch, w *resultWriter) error {
	inputKey := "" // found when a line without a result needs its custom_id
	for first := 0; ; {
		slices, err := fin.store.Slices(ctx, b.ID, first, finalizeSlices)
		if err != nil {
			return fmt.Errorf("listing slices: %w", err)
		}
		if len(slices) == 0 {
			return nil
		}
		for _, s := range slices {
			if bits.OnesCount64(s.Done) < s.Lines && inputKey == "" {
				input, err := fin.store.InputFile(ctx, b.ID)
				if err != nil {
					return fmt.Errorf("finding input file: %w", err)
				}
				inputKey = input.Key
			}
			if err := fin.writeSlice(ctx, b, inputKey, s, w); err != nil {
				return fmt.Errorf("writing results of slice %d: %w", s.Number, err)
			}
		}
		first = slices[len(slices)-1].Number + 1
	}
}

// errUnfinished would be a broken invariant: a batch ends as completed only
// when every line has its result.
var errUnfinished = errors.New("slice has lines without a result, but the batch is complete")

func (fin *finalizer) writeSlice(ctx context.Context, b batch.Batch, inputKey string, s batch.Slice, w *resultWriter) error {
	results, err := fin.store.Results(ctx, s.SliceRef)
	if err != nil {
		return err
	}
	if len(results) != bits.OnesCount64(s.Done) {
		return fmt.Errorf("%w: %d results, %d lines done", errUnfinished, len(results), bits.OnesCount64(s.Done))
	}
	var requests []openai.Request
	if len(results) < s.Lines {
		if b.Ending == batch.Completed {
			return errUnfinished
		}
		if requests, err = batch.ReadRequests(ctx, fin.files, b.Endpoint, inputKey, s.SlicePlan, fin.config().MaxLineBytes); err != nil {
			return err
		}
	}
	w.index.begin(s.SlicePlan, w.output.bytes, w.errors.bytes)
	for i := range s.Lines {
		if len(results) > 0 && results[0].Index == i {
			err = w.write(ctx, results[0], lineRan)
			results = results[1:]
		} else {
			err = w.write(ctx, neverRun(b, s.FirstLine+i, requests[i].CustomID), 0)
		}
		if err != nil {
			return err
		}
	}
	return w.index.end(ctx)
}

// neverRun is the result of a line that the end of its batch left without one.
func neverRun(b batch.Batch, line int, customID string) batch.LineResult {
	code, message := "batch_cancelled", "This request could not be executed because the batch was cancelled."
	if b.Ending == batch.Expired {
		code, message = "batch_expired", "This request could not be executed before the completion window expired."
	}
	return batch.LineResult{Failed: true, Record: openai.AppendErrorLine(nil, batch.RequestID(b.ID, line), customID, code, message)}
}

// writeUnplanned writes the lines of a batch that was cancelled before it was
// validated, if they are valid, and returns their number.
func (fin *finalizer) writeUnplanned(ctx context.Context, b batch.Batch, w *resultWriter) (int, error) {
	input, finding, err := fin.validator.inputOf(ctx, b)
	if err != nil || finding != nil {
		return 0, err
	}
	s, err := fin.validator.scanInput(ctx, b, input)
	switch {
	case errors.Is(err, batch.ErrNotFound): // its content is gone: it would have failed
		return 0, nil
	case err != nil:
		return 0, err
	case len(s.findings) > 0: // it would have failed: it has no lines
		return 0, nil
	}
	for _, p := range s.plan.Slices {
		requests, err := batch.ReadRequests(ctx, fin.files, b.Endpoint, input.Key, p, fin.config().MaxLineBytes)
		if err != nil {
			return 0, err
		}
		w.index.begin(p, w.output.bytes, w.errors.bytes)
		for i, r := range requests {
			if err := w.write(ctx, neverRun(b, p.FirstLine+i, r.CustomID), 0); err != nil {
				return 0, err
			}
		}
		if err := w.index.end(ctx); err != nil {
			return 0, err
		}
	}
	return s.plan.Lines, nil
}

// resultWriter writes results to the two files, and their positions to the index.
type resultWriter struct {
	output, errors resultFile
	index          indexWriter
}

func (w *resultWriter) write(ctx context.Context, r batch.LineResult, flags byte) error {
	w.index.add(r, flags)
	if r.Failed {
		return w.errors.write(ctx, r.Record)
	}
	return w.output.write(ctx, r.Record)
}

// holds returns the space of the files, nil for one that has no line.
func (w *resultWriter) holds() []*upload.Hold {
	return []*upload.Hold{w.output.hold, w.errors.hold, w.index.file.hold}
}

// resultFile is an output or error file on its way, made with its first line.
type resultFile struct {
	*parts
	batch batch.Batch
	ttl   time.Duration
	kind  string

	id    string
	dst   batch.FileWriter
	hold  *upload.Hold // counts the content with the uploads that arrive
	buf   *bufio.Writer
	sum   hash.Hash
	bytes int64
}

// resultBuffer is the size in bytes of the buffer before writing and hashing.
const resultBuffer = 256 << 10

// write writes a line.
func (f *resultFile) write(ctx context.Context, record []byte) error {
	if err := f.append(ctx, record); err != nil {
		return err
	}
	return f.append(ctx, newline)
}

var newline = []byte{'\n'}

func (f *resultFile) append(ctx context.Context, b []byte) error {
	if f.dst == nil {
		f.id = openai.NewID("file-")
		dst, err := f.files.Create(ctx, f.id)
		if err != nil {
			return fmt.Errorf("creating %s file: %w", f.kind, err)
		}
		f.hold = f.arriving.Hold(f.batch.Tenant)
		f.dst, f.buf, f.sum = dst, bufio.NewWriterSize(dst, resultBuffer), sha256.New()
	}
	if _, err := f.buf.Write(b); err != nil {
		return fmt.Errorf("writing %s file: %w", f.kind, err)
	}
	f.sum.Write(b)
	f.bytes += int64(len(b))
	f.hold.Grow(int64(len(b)))
	return nil
}

// commit makes the content durable and describes the file; nil if it is empty.
func (f *resultFile) commit(ctx context.Context) (*batch.NewFile, error) {
	if f.dst == nil {
		return nil, nil
	}
	if err := f.buf.Flush(); err != nil {
		return nil, err
	}
	if err := f.dst.Commit(ctx); err != nil {
		return nil, err
	}
	return &batch.NewFile{
		ID: f.id, Tenant: f.batch.Tenant, Key: f.id, Filename: resultsName(f.batch.ID, f.kind),
		Purpose: openai.PurposeBatchOutput, Bytes: f.bytes, SHA256: hex.EncodeToString(f.sum.Sum(nil)), TTL: f.ttl,
	}, nil
}

// abort removes a file that was not committed. An error is only logged: it affects no other
// work, and no later success would clear it in health.
func (f *resultFile) abort() {
	if f.dst == nil {
		return
	}
	if err := f.dst.Abort(); err != nil {
		f.log.Warn("removing unfinished file", zap.String("batch_id", f.batch.ID), zap.String("kind", f.kind), zap.Error(err))
	}
}
