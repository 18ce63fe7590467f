package engine

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// RetryOf is the metadata key by which a batch of retried lines names the batch
// that they come from.
const RetryOf = "retry_of"

// RetryRequest asks for a batch of the lines that failed in another.
type RetryRequest struct {
	// Files stores the input of the new batch.
	Files FileMaker
	// IdempotencyKey is that of the header, "" for none.
	IdempotencyKey string
	// Quota limits what the tenant stores: without space for results no batch is made.
	Quota batch.Quota
}

// FileMaker makes files.
type FileMaker interface {
	// WriteFile stores what write writes as a file of at most limit bytes. It
	// uses Tenant, Filename, Purpose and TTL of f. Nothing is left after an error.
	WriteFile(ctx context.Context, f batch.NewFile, limit int64, write func(io.Writer) error) (batch.File, error)
}

// RetryFailed makes a batch of those lines of a batch that stand in its error
// file, whether they failed or never ran. It has the endpoint, window, lifetime
// of results, priority and metadata of the other, and RetryOf besides. What the
// state of the batch or of its files does not allow is a *batch.StateError. It counts as a new
// batch of the client that ctx has, and is refused like one, see CreateBatch, also because of
// metadata that new batches cannot have any more.
//
// The new input is copied line by line, so memory is bounded by one line.
func (e *Engine) RetryFailed(ctx context.Context, tenant, id string, r RetryRequest) (batch.Batch, error) {
	b, err := e.store.Batch(ctx, tenant, id)
	if err != nil {
		return batch.Batch{}, err
	}
	hash := retryHash(id)
	if r.IdempotencyKey != "" {
		made, err := e.store.BatchOfKey(ctx, tenant, r.IdempotencyKey, hash)
		switch {
		case err == nil:
			return e.notDeleted(ctx, made)
		case !errors.Is(err, batch.ErrNotFound):
			return made, err
		}
	}
	switch {
	case !b.Status.Terminal():
		return batch.Batch{}, &batch.StateError{BatchID: id, Status: b.Status, Err: batch.ErrNotEnded}
	case b.Status == batch.Failed:
		return batch.Batch{}, &batch.StateError{BatchID: id, Err: batch.ErrNotValidated}
	case b.ErrorFileID == "":
		return batch.Batch{}, &batch.StateError{BatchID: id, Err: batch.ErrNoFailures}
	}
	window, err := time.ParseDuration(b.CompletionWindow)
	if err != nil {
		return batch.Batch{}, fmt.Errorf("reading completion window of %s: %w", id, err)
	}
	if err := e.checkMetadata(tenant, b.Metadata); err != nil { // the configuration may have changed
		return batch.Batch{}, err
	}
	undo, err := e.admit(ctx, tenant, r.Quota)
	if err != nil {
		return batch.Batch{}, err
	}
	input, err := e.copyFailed(ctx, b, r.Files)
	if err != nil {
		undo()
		return batch.Batch{}, err
	}
	metadata := maps.Clone(b.Metadata)
	if metadata == nil {
		metadata = make(map[string]string, 1)
	}
	metadata[RetryOf] = id
	client := access.From(ctx)
	newID := openai.NewID("batch_")
	made, created, err := e.store.CreateBatch(ctx, batch.NewBatch{
		ID: newID, Tenant: tenant, Endpoint: b.Endpoint, InputFileID: input.ID,
		CompletionWindow: b.CompletionWindow, Window: window, Metadata: metadata, Priority: b.Priority, OutputTTL: b.OutputTTL,
		IdempotencyKey: r.IdempotencyKey, RequestHash: hash, KeyID: client.KeyID, Models: client.Models,
	})
	if err == nil && !created || err != nil && !e.mayExist(ctx, tenant, newID, err) {
		undo()
	}
	if err != nil || !created { // another request with the key was quicker
		if err == nil {
			made, err = e.notDeleted(ctx, made)
		}
		return made, errors.Join(err, e.discard(ctx, input))
	}
	e.log.Info("failed lines of a batch are retried", zap.String("batch_id", id), zap.String("as", made.ID))
	e.notify()
	return made, nil
}

// retryHash returns the request hash of RetryFailed for an idempotency key.
func retryHash(id string) string { return hex.EncodeToString(batch.ShortHash("retry_failed " + id)) }

// discard deletes a file that nothing came of. Should there be a batch of it
// after all, that keeps the content.
func (e *Engine) discard(ctx context.Context, f batch.File) error {
	ctx, cancel := e.bounded(context.WithoutCancel(ctx))
	defer cancel()
	if err := e.store.DeleteFile(ctx, f.Tenant, f.ID); err != nil && !errors.Is(err, batch.ErrNotFound) {
		return fmt.Errorf("deleting input of a retry: %w", err)
	}
	return nil
}

// copyFailed makes a file of the lines of a batch's input that its error file
// names. Both are in the same order.
func (e *Engine) copyFailed(ctx context.Context, b batch.Batch, files FileMaker) (batch.File, error) {
	input, err := e.store.InputFile(ctx, b.ID)
	if err != nil {
		return batch.File{}, goneIf(err, batch.ErrInputGone, b.ID, b.InputFileID)
	}
	from, err := batch.OpenContent(ctx, e.files, input.Key, input.Bytes)
	if err != nil {
		return batch.File{}, goneIf(err, batch.ErrInputGone, b.ID, input.ID)
	}
	defer from.Close()
	report, err := e.store.File(ctx, b.Tenant, b.ErrorFileID)
	if err != nil {
		return batch.File{}, goneIf(err, batch.ErrErrorsGone, b.ID, b.ErrorFileID)
	}
	failures, err := batch.OpenContent(ctx, e.files, report.Key, report.Bytes)
	if err != nil {
		return batch.File{}, goneIf(err, batch.ErrErrorsGone, b.ID, b.ErrorFileID)
	}
	defer failures.Close()

	limit := input.Bytes + 1 // it may get a newline at its end
	f := batch.NewFile{Tenant: b.Tenant, Filename: b.ID + "_retry.jsonl", Purpose: openai.PurposeBatch}
	return files.WriteFile(ctx, f, limit, func(to io.Writer) error {
		if err := copyLines(to, openai.NewLineReader(from, e.config().MaxLineBytes), newFailures(failures)); err != nil {
			return fmt.Errorf("copying failed lines of %s: %w", b.ID, err)
		}
		return nil
	})
}

// goneIf returns a *batch.StateError with a reason if a file that a retry needs no
// longer exists, other errors as they are.
func goneIf(err, reason error, batchID, fileID string) error {
	if errors.Is(err, batch.ErrNotFound) {
		return &batch.StateError{BatchID: batchID, FileID: fileID, Err: reason}
	}
	return err
}

// copyLines writes the lines whose custom_id the failures name, each as it is
// between the whitespace around it.
func copyLines(to io.Writer, from *openai.LineReader, failures *failures) error {
	buffered := bufio.NewWriterSize(to, resultBuffer)
	for {
		want, err := failures.next()
		if errors.Is(err, io.EOF) {
			return buffered.Flush()
		}
		if err != nil {
			return fmt.Errorf("reading error file: %w", err)
		}
		line, err := find(from, want)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: no line %q", batch.ErrInputChanged, want)
		}
		if err != nil {
			return fmt.Errorf("reading input file: %w", err)
		}
		if _, err := buffered.Write(line); err != nil {
			return err
		}
		if err := buffered.WriteByte('\n'); err != nil {
			return err
		}
	}
}

// find reads on to the line with a custom_id.
func find(lines *openai.LineReader, customID string) ([]byte, error) {
	for {
		line, err := lines.Next()
		if _, tooLong := errors.AsType[*openai.LineTooLongError](err); tooLong {
			continue // the limit was lowered since
		}
		if err != nil {
			return nil, err
		}
		if openai.ScanCustomID(line.Bytes) == customID {
			return line.Bytes, nil
		}
	}
}

// failures reads the custom_ids of an error file.
type failures struct{ r *bufio.Reader }

// headBytes is where the custom_id of a result has ended: it has at most 512
// characters, each of which takes at most 12 bytes.
const headBytes = 16 << 10

func newFailures(r io.Reader) *failures { return &failures{bufio.NewReaderSize(r, headBytes)} }

func (f *failures) next() (string, error) {
	head, err := f.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return "", err // a last line without its end is none of ours
	}
	id := openai.ScanCustomID(head)
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = f.r.ReadSlice('\n')
	}
	return id, err
}
