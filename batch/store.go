package batch

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// Errors of drivers that callers branch on. Drivers wrap them with the cause.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("state does not allow it")
	ErrStale       = errors.New("claim was lost to a later attempt")
	ErrKeyReused   = errors.New("idempotency key was used with another request")
	ErrNoSpace     = errors.New("no space left")
	ErrUnavailable = errors.New("store is not available")                   // a retry may succeed
	ErrUnknown     = errors.New("it is not known whether the store did it") // it may still do it; used with ErrUnavailable or the end of a context
	ErrNewerSchema = errors.New("database was written by a newer version")
	ErrBadCursor   = errors.New("no such object to continue after")
)

// Store is the source of truth. Every method is one transaction and durable when it
// returns. Times are those of the database's clock. Methods are safe for concurrent use.
//
// For a method with a tenant, objects of other tenants do not exist. Deleted and expired
// files do not exist either, but the content of one remains while a batch needs it as its
// input.
type Store interface {
	// Open connects, migrates and checks. It is called once, before the other methods.
	// A store that only one process can open ends all leases here, because their
	// holders no longer run.
	Open(ctx context.Context) error
	Close() error
	// Ping returns nil if the store answers and can be written.
	Ping(ctx context.Context) error
	// Capabilities returns the optional features.
	Capabilities() StoreCapabilities

	FileStore
	UploadStore
	BatchStore
	ControlStore
	WorkStore
	FinishStore
	CollectStore
	ContentStore
	UpstreamModelStore
	UsageStore
	EstimateStore
	FlowStore
	AnalyticsStore
	KeyStore
	WebhookStore
	ReceiptStore
	AuditStore
}

// FileStore stores the rows of files.
type FileStore interface {
	// CreateFile returns a *QuotaError, without a change, if the file exceeds a limit of
	// its Quota. Concurrent calls do not exceed one together; those for CreateUpload,
	// AddPart and CompleteUpload are included.
	CreateFile(ctx context.Context, f NewFile) (File, error)
	// File returns ErrNotFound for a file that is deleted or expired.
	File(ctx context.Context, tenant, id string) (File, error)
	// Files returns a page and reports whether more files follow. After may name a file
	// that was deleted within the last hour, so that a client can delete the files that
	// it lists. An unknown After is ErrBadCursor. It lists those of AllTenants as well.
	Files(ctx context.Context, tenant string, q FileQuery) (page []File, more bool, err error)
	// DeleteFile hides the file. The cleaner removes its content.
	DeleteFile(ctx context.Context, tenant, id string) error
}

// UploadStore stores the rows of uploads and their parts.
type UploadStore interface {
	// CreateUpload takes ID, Tenant, Filename, Purpose, MimeType, Bytes and
	// FileTTL from u; it expires ttl from now. It returns a *QuotaError if too many
	// uploads are pending, or if Bytes do not fit. It reserves no space.
	CreateUpload(ctx context.Context, u Upload, ttl time.Duration, q Quota) (Upload, error)
	// Upload returns a pending upload past its expiry as expired.
	Upload(ctx context.Context, tenant, id string) (Upload, error)
	// CountParts counts the parts of an upload.
	CountParts(ctx context.Context, tenant, uploadID string) (int, error)
	// AddPart returns ErrConflict if the upload is not pending, and a *QuotaError.
	AddPart(ctx context.Context, tenant string, p UploadPart, q Quota) (UploadPart, error)
	// Parts returns the parts with these ids in this order, and ErrNotFound if one is
	// not of the upload.
	Parts(ctx context.Context, tenant, uploadID string, ids []string) ([]UploadPart, error)
	// CompleteUpload creates the file and ends the upload. It returns ErrConflict if the
	// upload is not pending, and a *QuotaError if the file is larger than the upload and
	// the difference exceeds a limit: otherwise it takes the place of the parts.
	CompleteUpload(ctx context.Context, tenant, id string, f NewFile) (Upload, File, error)
	// CancelUpload returns ErrConflict if the upload is completed or expired. A
	// cancelled upload is returned unchanged.
	CancelUpload(ctx context.Context, tenant, id string) (Upload, error)
}

// BatchStore stores the rows of batches.
type BatchStore interface {
	// CreateBatch creates a batch that is Validating. For a known IdempotencyKey of the
	// tenant it returns the batch of that key with created false, or ErrKeyReused if
	// RequestHash differs.
	CreateBatch(ctx context.Context, b NewBatch) (batch Batch, created bool, err error)
	Batch(ctx context.Context, tenant, id string) (Batch, error)
	// Batches returns pages as Files does, of AllTenants as well.
	Batches(ctx context.Context, tenant string, q BatchQuery) (page []Batch, more bool, err error)
	// CancelBatch moves a running batch to Cancelling (Ending Cancelled) and makes all
	// claims on it and its slices stale, so that no more results are added. A batch that
	// is Cancelling or Cancelled is returned unchanged, another terminal one with
	// ErrConflict.
	CancelBatch(ctx context.Context, tenant, id string) (Batch, error)
	// DeleteBatch hides a batch with its output and error file. A batch that is not
	// terminal becomes Cancelled without files, and all claims on it and its slices
	// become stale. All of it is one transaction, so that a crash leaves nothing undone.
	// It returns ErrConflict, with the batch, if the deletion is EndedOnly and the batch
	// is not terminal.
	DeleteBatch(ctx context.Context, tenant, id string, d Deletion) (Batch, error)
}

// Deletion are the options of DeleteBatch.
type Deletion struct {
	// Input deletes the input file too, when no other batch uses it.
	Input bool
	// EndedOnly refuses a batch that is not terminal.
	EndedOnly bool
}

// WorkStore is the part of a Store that the scheduler uses.
type WorkStore interface {
	// ActiveBatches lists up to limit batches of all tenants that are InProgress: paused
	// ones last, then by priority (larger first), deadline and age.
	ActiveBatches(ctx context.Context, limit int) ([]Batch, error)
	// InputFile returns the input of a batch, also if it was deleted or has expired.
	InputFile(ctx context.Context, batchID string) (File, error)
	// ClaimableSlices lists the slices of a batch that are unfinished and not leased, in
	// input order. The batch must be InProgress and not paused.
	ClaimableSlices(ctx context.Context, batchID string, limit int) ([]int, error)
	// LapsedSlices lists the slices of such a batch whose lease ended although they are
	// unfinished, in input order: their holder crashed or hangs. It searches the first
	// LapsedDepth unfinished slices.
	LapsedSlices(ctx context.Context, batchID string, limit int) ([]int, error)
	// ClaimSlices claims those of refs that are unfinished, not leased and of a batch
	// that is InProgress and not paused. Attempt is incremented and the lease starts
	// now. The other refs are omitted without an error. Lines that a former claimant
	// kept are released if their lease has ended.
	ClaimSlices(ctx context.Context, by Claimant, refs []SliceRef) ([]Slice, error)
	// RenewSlices extends the leases and returns the stale claims.
	RenewSlices(ctx context.Context, claims []SliceClaim, lease time.Duration) (lost []SliceClaim, err error)
	// ReleaseSlices releases claims; stale ones are skipped. The claimant keeps the lines
	// in Keep for another lease: under its claim it commits their results, renews the
	// lease and releases the rest. The next claimant of the slice gets them as Kept. A
	// slice without other unfinished lines cannot be claimed until that lease ends. A release
	// of unknown outcome can be repeated.
	ReleaseSlices(ctx context.Context, released []Release, lease time.Duration) error
	// CommitResults adds results in one transaction: segments, done bits, counts, usage
	// and cost of the batch, usage_15m, and the usage of its key. A write with a stale claim is omitted and its
	// claim returned. A line that is already done is skipped, so that a commit of
	// unknown outcome can be repeated. A slice whose last line is done loses its lease.
	// A batch whose last line is done becomes Finalizing (Ending Completed) in the same
	// transaction.
	CommitResults(ctx context.Context, writes []SegmentWrite) (stale []SliceClaim, err error)
}

// Claimant identifies the gateway that claims slices.
type Claimant struct {
	Owner string
	Lease time.Duration
	// Patient omits unfinished slices whose lease has ended: an outage may have kept
	// their holder from renewing it.
	Patient bool
}

// LapsedDepth limits the slices that LapsedSlices searches. Slices are claimed roughly in
// order, so that claimed ones are among the first unfinished ones.
const LapsedDepth = 1000

// Task is the work on a batch that runs no lines.
type Task int

// The tasks.
const (
	Validate Task = iota // of a batch that is Validating
	Finalize             // of a batch that is Finalizing or Cancelling
)

// FinishStore is the part of a Store that validates and finalizes batches.
type FinishStore interface {
	// ClaimBatch claims a batch that is not leased, for the task or otherwise for the
	// other task: the one with the largest priority, then the oldest. It returns
	// ErrNotFound if there is none.
	ClaimBatch(ctx context.Context, owner string, lease time.Duration, task Task) (BatchClaim, error)
	// RenewBatch and ReleaseBatch return ErrStale for an old claim.
	RenewBatch(ctx context.Context, c BatchClaim, lease time.Duration) error
	ReleaseBatch(ctx context.Context, c BatchClaim) error
	// StartBatch inserts the slices and moves the batch from Validating to
	// InProgress. It returns ErrStale for an old claim, and a *QueueFullError, without
	// a change, if the lines exceed a limit of the plan. Concurrent calls do not exceed
	// one together.
	StartBatch(ctx context.Context, c BatchClaim, p Plan) error
	// Slices lists slices in any state by number, from first on.
	Slices(ctx context.Context, batchID string, first, limit int) ([]Slice, error)
	// Results returns the committed results of a slice by Index. Index,
	// Failed, Record, Usage and LineInfo are set.
	Results(ctx context.Context, ref SliceRef) ([]LineResult, error)
	// FailBatch moves the batch from Validating to Failed with findings.
	FailBatch(ctx context.Context, c BatchClaim, findings []openai.BatchError) error
	// FinishBatch makes the rows of the files and moves the batch to its
	// Ending. It returns ErrStale for an old claim.
	FinishBatch(ctx context.Context, c BatchClaim, o Outcome) error
}

// CollectStore is the part of a Store that the cleaner uses. Each method does a limited
// amount of work and returns how much, so that it is called until nothing remains.
type CollectStore interface {
	// ExpireBatches moves InProgress batches past their deadline to
	// Finalizing (Ending Expired) and makes the claims on their slices
	// stale, as CancelBatch does. It returns their ids.
	ExpireBatches(ctx context.Context, limit int) ([]string, error)
	// ExpireUploads ends pending uploads past their expiry.
	ExpireUploads(ctx context.Context, limit int) (int, error)
	// DropWork removes slices and segments of terminal batches.
	DropWork(ctx context.Context, limit int) (int, error)
	// Garbage lists keys of contents that are no longer needed: of deleted or expired
	// files that no unfinished batch has as its input, and of parts of uploads that have
	// ended. No batch can be created of a file that it has listed.
	Garbage(ctx context.Context, limit int) ([]string, error)
	// Collected records that contents are deleted, so that they are not listed again.
	Collected(ctx context.Context, keys []string) error
	// Forget removes rows that were deleted or expired more than an hour ago and whose
	// contents are deleted, and batches that were deleted more than an hour ago.
	Forget(ctx context.Context, limit int) (int, error)
	// UnknownKeys returns those of keys that have no row.
	UnknownKeys(ctx context.Context, keys []string) ([]string, error)
}

// UsageStore counts usage.
type UsageStore interface {
	// AddUsage adds to the current 15-minute bucket, and to the usage of keys of the
	// current day.
	AddUsage(ctx context.Context, records []UsageRecord) error
	// Usage sums the buckets from since on. It leaves out what only KeyUsage has.
	Usage(ctx context.Context, tenant string, since time.Time) ([]UsageRecord, error)
	// Now returns the time of the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// ControlStore pauses, resumes and prioritizes batches. Its methods return ErrNotFound as
// those of BatchStore do, and ErrConflict with a batch that is neither Validating nor
// InProgress.
type ControlStore interface {
	// PauseBatch sets PausedAt and PauseReason. No slice of a paused batch can be
	// claimed; existing claims stay valid, and the deadline is unchanged. A batch that is
	// paused is returned unchanged.
	PauseBatch(ctx context.Context, tenant, id, reason string) (Batch, error)
	// ResumeBatch clears PausedAt and PauseReason.
	ResumeBatch(ctx context.Context, tenant, id string) (Batch, error)
	// PrioritizeBatch sets the priority of a batch.
	PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (Batch, error)
	// BatchOfKey returns the batch of an idempotency key. It returns ErrKeyReused if the
	// key was used with another hash, and ErrNotFound if it was not used.
	BatchOfKey(ctx context.Context, tenant, key, hash string) (Batch, error)
}

// FlowStore has the rates at which lines of models finish, and the models that batches wait
// for.
type FlowStore interface {
	// Flow returns the work of all gateways by model and minute, the newest first, up to
	// the minute of since; at most limit. The model "" sums the lines of batches with
	// several models. CommitResults counts the lines, also of batches that were deleted
	// later.
	Flow(ctx context.Context, since time.Time, limit int) ([]ModelMinute, error)
	// WaitingBatches lists the batches that are Validating, all tenants, by priority
	// (larger first), then age; at most limit.
	WaitingBatches(ctx context.Context, limit int) ([]Batch, error)
	// CountLines replaces the numbers of lines by model of a batch that is Validating. It
	// returns ErrStale for an old claim.
	CountLines(ctx context.Context, c BatchClaim, lines []ModelLines) error
	// BatchModels lists the lines by model of batches that are Validating or
	// InProgress, as CountLines and StartBatch set them, those of a batch together;
	// at most limit. It omits batches whose lines were not counted, and those that
	// were started with a single model.
	BatchModels(ctx context.Context, limit int) ([]BatchModel, error)
}

// EstimateStore has the rates at which lines of batches finish.
type EstimateStore interface {
	// Progress returns the minutes of batches, by their ids, from that of since on, in
	// order, without minutes in which no line ended. It omits deleted batches and
	// minutes that are too old (see AnalyticsStore.PruneHistory).
	Progress(ctx context.Context, ids []string, since time.Time) (map[string][]Minute, error)
}

// UpstreamModelStore stores the discovered models of upstreams, so that a gateway that
// starts while they are down does not report their models as unknown.
type UpstreamModelStore interface {
	// UpstreamModels returns the models that were set last, by upstream.
	UpstreamModels(ctx context.Context) (map[string]string, error)
	// SetUpstreamModels sets the models of an upstream, as text. Beyond UpstreamsKept
	// upstreams, those that were set longest ago are removed.
	SetUpstreamModels(ctx context.Context, upstream, models string) error
}

// UpstreamsKept limits the upstreams of an UpstreamModelStore.
const UpstreamsKept = 1000

// ContentStore has the contents that must exist.
type ContentStore interface {
	// Place returns the identifier of the location whose contents belong to the
	// database; "" if none was set. See Placed.
	Place(ctx context.Context) (string, error)
	SetPlace(ctx context.Context, place string) error
	// NeededContents lists contents that files need: those of files that are
	// neither deleted nor expired, and inputs of unfinished batches. The newest
	// files come first; before continues a listing below the Seq of its last
	// entry, 0 begins it.
	NeededContents(ctx context.Context, before int64, limit int) ([]NeededContent, error)
	// Quarantine records contents without a row and returns when each was first
	// recorded.
	Quarantine(ctx context.Context, keys []string) ([]UnknownContent, error)
	// PruneQuarantine removes the records of contents that Quarantine has not named
	// since a time: they were deleted or have a row.
	PruneQuarantine(ctx context.Context, since time.Time) error
}

// AnalyticsStore has the data of reports. No method scans tables that grow with finished
// work: counters are updated on write, lists use an index.
type AnalyticsStore interface {
	// UsageSeries sums usage of a model ("" for all) by class over steps of a
	// period, in order, without empty steps.
	UsageSeries(ctx context.Context, tenant, model string, p Period) ([]UsagePoint, error)
	// UsageByModel sums usage over a period by class and model.
	UsageByModel(ctx context.Context, tenant string, p Period) ([]UsageRecord, error)
	// KeyUsage sums the usage of keys by groups, of AllTenants as well.
	KeyUsage(ctx context.Context, tenant string, q UsageQuery) (UsageReport, error)
	// QueuedLines sums the lines of batches that are InProgress and have no result by key,
	// of AllTenants as well.
	QueuedLines(ctx context.Context, tenant string) ([]ClientQueued, error)
	// Events counts events by kind over steps of a period, in order, without empty
	// steps.
	Events(ctx context.Context, tenant string, p Period) ([]EventPoint, error)
	// BatchStates counts batches that are not deleted by status, of AllTenants as well.
	BatchStates(ctx context.Context, tenant string) (map[Status]int64, error)
	// Waiting returns the backlog of batches that are InProgress.
	Waiting(ctx context.Context, tenant string) (Waiting, error)
	// FindBatches lists batches, newest first, of AllTenants as well. A page of a search
	// for text may be short, even empty, while More is true: one call searches a limited
	// number of batches. An unknown After is ErrBadCursor.
	FindBatches(ctx context.Context, tenant string, f BatchFilter) (BatchPage, error)
	// FileUses returns the batches that have files as their input, by the ids of the
	// files: the latest ones of each file. Files without a batch are omitted.
	FileUses(ctx context.Context, tenant string, ids []string, latest int) (map[string]FileUse, error)
	// FileNames returns the names of files by their ids, also of deleted files whose
	// rows still exist. Unknown ids are omitted.
	FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error)
	// LargestFiles lists files by size, the largest first.
	LargestFiles(ctx context.Context, tenant string, limit int) ([]File, error)
	// Storage sums the sizes of contents by purpose, including deleted ones that are not
	// removed yet, of AllTenants as well. Parts of pending uploads have PurposePart, indexes
	// of results PurposeIndex.
	Storage(ctx context.Context, tenant string) ([]StorageUse, error)
	// TenantStorage sums what Storage does, and pending uploads, by tenant, of AllTenants as
	// well. Tenants without either are omitted.
	TenantStorage(ctx context.Context, tenant string) ([]TenantStored, error)
	// Pace returns the work on batches of all tenants by minute, the newest first, up to
	// the minute of since; at most limit.
	Pace(ctx context.Context, since time.Time, limit int) ([]Pace, error)
	// PruneHistory removes usage and events older than HistoryTTL, usage of keys older
	// than UsageTTL and minutes of batches older than MinutesTTL, at most limit rows.
	PruneHistory(ctx context.Context, limit int) (int, error)
}

// NeededContent is the content of a file.
type NeededContent struct {
	Seq    int64 // of the file's row; newer rows have larger ones
	FileID string
	Key    string
}

// UnknownContent is a content without a row.
type UnknownContent struct {
	Key   string
	Since time.Time // by the database's clock
}
