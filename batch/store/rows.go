package store

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Columns of the tables that both drivers have, in the order in which the
// functions below scan them.
const (
	FileColumns   = `id, tenant, content, filename, purpose, bytes, sha256, compression, created_at, expires_at`
	UploadColumns = `id, tenant, filename, purpose, mime_type, bytes, file_ttl, status, file_id, created_at, expires_at`
	PartColumns   = `p.id, u.id, p.content, p.bytes, p.created_at`
	BatchColumns  = `id, tenant, endpoint, input_file_id, completion_window, metadata, priority, output_ttl, status, ending, model, errors,
		total, completed, failed, input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens, output_file_id, error_file_id,
		created_at, expires_at, in_progress_at, finalizing_at, completed_at, failed_at, expired_at, cancelling_at, cancelled_at, paused_at, index_file_id, pause_reason, key_id, models, cost, unpriced`
	CommitColumns = `b.id, s.number, s.attempt, s.lines, s.done, s.kept, s.kept_attempt, b.seq, b.tenant, b.endpoint, b.status, b.ending,
		b.total, b.completed, b.failed, b.input_tokens, b.cached_tokens, b.output_tokens, b.reasoning_tokens, b.total_tokens, b.model, b.key_id, b.cost, b.unpriced`
	UsageColumns = `tenant, class, model, endpoint, requests, failures, input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens`
)

// Row is a row of a result.
type Row interface{ Scan(to ...any) error }

// Value scans a row of one column.
func Value[T any](r Row) (v T, err error) {
	err = r.Scan(&v)
	return v, err
}

// QueuedSums are the sums that ScanQueued scans.
const QueuedSums = `coalesce(sum(total - completed - failed), 0), coalesce(sum(1.0 * queued_tokens * (total - completed - failed) / nullif(total, 0)), 0.0)`

// ScanQueued scans QueuedSums.
func ScanQueued(r Row) (q batch.Queued, err error) {
	var tokens float64
	if err = r.Scan(&q.Lines, &tokens); err != nil {
		return q, err
	}
	q.Tokens = int64(tokens)
	return q, nil
}

// ScanClientQueued scans the tenant, the key and QueuedSums.
func ScanClientQueued(r Row) (q batch.ClientQueued, err error) {
	var tokens float64
	if err = r.Scan(&q.Tenant, &q.Key, &q.Lines, &tokens); err != nil {
		return q, err
	}
	q.Tokens = int64(tokens)
	return q, nil
}

// ScanFile scans FileColumns.
func ScanFile(r Row) (batch.File, error) {
	var (
		f           batch.File
		compression []byte
	)
	if err := r.Scan(&f.ID, &f.Tenant, &f.Key, &f.Filename, &f.Purpose, &f.Bytes, &f.SHA256, &compression,
		timeIn{&f.CreatedAt}, timeIn{&f.ExpiresAt}); err != nil {
		return f, err
	}
	return f, DecodeFile(&f, compression)
}

// UploadRow is an upload with its row's number.
type UploadRow struct {
	batch.Upload
	Row int64
}

// ScanUploadRow scans UploadColumns and seq.
func ScanUploadRow(r Row) (u UploadRow, err error) {
	err = r.Scan(&u.ID, &u.Tenant, &u.Filename, &u.Purpose, &u.MimeType, &u.Bytes, durationIn{&u.FileTTL}, &u.Status, &u.FileID,
		timeIn{&u.CreatedAt}, timeIn{&u.ExpiresAt}, &u.Row)
	return u, err
}

// At returns the upload at a time: after its expiry it is expired, even if its row
// still has another status.
func (u UploadRow) At(now time.Time) UploadRow {
	if u.Status == batch.UploadPending && !u.ExpiresAt.After(now) {
		u.Status = batch.UploadExpired
	}
	return u
}

// ScanPart scans PartColumns.
func ScanPart(r Row) (p batch.UploadPart, err error) {
	err = r.Scan(&p.ID, &p.UploadID, &p.Key, &p.Bytes, timeIn{&p.CreatedAt})
	return p, err
}

// ScanBatch scans BatchColumns.
func ScanBatch(r Row) (batch.Batch, error) { return scanBatchAnd(r) }

// scanBatchAnd scans BatchColumns and further columns of a statement.
func scanBatchAnd(r Row, more ...any) (batch.Batch, error) {
	var (
		b                  batch.Batch
		metadata, findings []byte
		models             []byte
	)
	err := r.Scan(append([]any{
		&b.ID, &b.Tenant, &b.Endpoint, &b.InputFileID, &b.CompletionWindow, &metadata, &b.Priority,
		durationIn{&b.OutputTTL},
		&b.Status, &b.Ending, &b.Model, &findings,
		&b.Counts.Total, &b.Counts.Completed, &b.Counts.Failed,
		&b.Usage.InputTokens, &b.Usage.InputTokensDetails.CachedTokens,
		&b.Usage.OutputTokens, &b.Usage.OutputTokensDetails.ReasoningTokens, &b.Usage.TotalTokens,
		&b.OutputFileID, &b.ErrorFileID,
		timeIn{&b.CreatedAt},
		timeIn{&b.ExpiresAt},
		timeIn{&b.InProgressAt},
		timeIn{&b.FinalizingAt},
		timeIn{&b.CompletedAt},
		timeIn{&b.FailedAt},
		timeIn{&b.ExpiredAt},
		timeIn{&b.CancellingAt},
		timeIn{&b.CancelledAt},
		timeIn{&b.PausedAt},
		&b.IndexFileID, &b.PauseReason, &b.KeyID, &models, &b.Cost, &b.Unpriced,
	}, more...)...)
	if err != nil {
		return b, err
	}
	if b.Models, err = DecodeModels(models); err != nil {
		return b, err
	}
	return b, DecodeBatch(&b, metadata, findings)
}

// ScanSegment scans data and info.
func ScanSegment(r Row) (s StoredSegment, err error) {
	err = r.Scan(&s.Data, &s.Info)
	return s, err
}

// KeyedBatch is the batch of an idempotency key, with a hash of its request.
type KeyedBatch struct {
	batch.Batch
	RequestHash string
}

// ScanKeyedBatch scans BatchColumns and request_hash.
func ScanKeyedBatch(r Row) (b KeyedBatch, err error) {
	b.Batch, err = scanBatchAnd(r, &b.RequestHash)
	return b, err
}

// ScanBatchClaim scans BatchColumns and attempt.
func ScanBatchClaim(r Row) (c batch.BatchClaim, err error) {
	c.Batch, err = scanBatchAnd(r, &c.Attempt)
	return c, err
}

// HiddenBatch has the references of a batch that was just hidden.
type HiddenBatch struct {
	Row   int64
	Input *int64 // nil if it had none
}

// ScanHiddenBatch scans seq and input.
func ScanHiddenBatch(r Row) (h HiddenBatch, err error) {
	err = r.Scan(&h.Row, &h.Input)
	return h, err
}

// SliceIn returns a function that scans a slice of a batch: number, attempt, offset,
// length, first line, lines, done and kept, after the columns in before.
func SliceIn(batchID string, before ...any) func(Row) (batch.Slice, error) {
	return func(r Row) (batch.Slice, error) {
		var (
			s          batch.Slice
			done, kept int64
		)
		s.BatchID = batchID
		err := r.Scan(append(before, &s.Number, &s.Attempt, &s.Offset, &s.Length, &s.FirstLine, &s.Lines, &done, &kept)...)
		s.Done, s.Kept = uint64(done), uint64(kept)
		return s, err
	}
}

// ScanCommitSlice scans CommitColumns.
func ScanCommitSlice(r Row) (*CommitSlice, error) {
	var (
		b          CommitBatch
		s          = CommitSlice{Batch: &b}
		done, kept int64
	)
	err := r.Scan(&b.ID, &s.Number, &s.Attempt, &s.Lines, &done, &kept, &s.KeptAttempt, &b.Row, &b.Tenant, &b.Endpoint, &b.Status, &b.Ending,
		&b.Counts.Total, &b.Counts.Completed, &b.Counts.Failed,
		&b.Usage.InputTokens, &b.Usage.InputTokensDetails.CachedTokens,
		&b.Usage.OutputTokens, &b.Usage.OutputTokensDetails.ReasoningTokens, &b.Usage.TotalTokens, &b.Model, &b.KeyID, &b.Cost, &b.Unpriced)
	s.Done, s.Kept = uint64(done), uint64(kept)
	return &s, err
}

// ScanUsage scans UsageColumns.
func ScanUsage(r Row) (u batch.UsageRecord, err error) {
	err = r.Scan(&u.Tenant, &u.Class, &u.Model, &u.Endpoint, &u.Requests, &u.Failures,
		&u.Usage.InputTokens, &u.Usage.InputTokensDetails.CachedTokens,
		&u.Usage.OutputTokens, &u.Usage.OutputTokensDetails.ReasoningTokens, &u.Usage.TotalTokens)
	return u, err
}

// ScanCount reads a row of one number.
func ScanCount(r Row) (n int, err error) {
	err = r.Scan(&n)
	return n, err
}
