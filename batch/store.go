package batch

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// Errors of drivers that callers branch on. Drivers map their own to these at
// their edge and wrap them with what happened.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("state does not allow it")
	ErrStale       = errors.New("claim was lost to a later attempt")
	ErrKeyReused   = errors.New("idempotency key was used with another request")
	ErrNoSpace     = errors.New("no space left")
	ErrUnavailable = errors.New("store is not available")                   // worth a retry
	ErrUnknown     = errors.New("it is not known whether the store did it") // it may do it yet; goes with ErrUnavailable, or the end of a context
	ErrNewerSchema = errors.New("database was written by a newer version")
	ErrBadCursor   = errors.New("no such object to continue after")
)

// Store keeps the truth. Every method is one transaction, durable when it
// returns; time is the database's. Methods are safe for concurrent use.
//
// Where a method takes a tenant, another tenant's objects do not exist.
// Deleted and expired files do not exist either, but a batch that needs one
// as its input keeps its content.
type Store interface {
	// Open connects, migrates and checks. It is called once, before the rest.
	// A store that only one process can have open ends all leases here:
	// whoever held them is gone.
	Open(ctx context.Context) error
	Close() error
	// Ping tells whether the store answers and can be written.
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
}

// FileStore keeps the rows of files.
type FileStore interface {
	CreateFile(ctx context.Context, f NewFile) (File, error)
	// File gives ErrNotFound for a file that is deleted or expired.
	File(ctx context.Context, tenant, id string) (File, error)
	// Files gives a page and whether more follow. After may name a file that
	// was deleted within the last hour, so that a client can delete what it
	// lists; ErrBadCursor when it is unknown.
	Files(ctx context.Context, tenant string, q FileQuery) (page []File, more bool, err error)
	// DeleteFile hides the file; the collector removes its content.
	DeleteFile(ctx context.Context, tenant, id string) error
}

// UploadStore keeps the rows of uploads and their parts.
type UploadStore interface {
	// CreateUpload takes ID, Tenant, Filename, Purpose, MimeType, Bytes and
	// FileTTL from u; it expires ttl from now.
	CreateUpload(ctx context.Context, u Upload, ttl time.Duration) (Upload, error)
	// Upload shows a pending upload whose time is over as expired.
	Upload(ctx context.Context, tenant, id string) (Upload, error)
	// OpenUploads counts the pending uploads of a tenant.
	OpenUploads(ctx context.Context, tenant string) (int, error)
	// CountParts counts the parts of an upload.
	CountParts(ctx context.Context, tenant, uploadID string) (int, error)
	// AddPart gives ErrConflict when the upload is not pending.
	AddPart(ctx context.Context, tenant string, p UploadPart) (UploadPart, error)
	// Parts gives the parts with these ids in this order, ErrNotFound when
	// one is not of the upload.
	Parts(ctx context.Context, tenant, uploadID string, ids []string) ([]UploadPart, error)
	// CompleteUpload makes the file and ends the upload at once; ErrConflict
	// when it is not pending.
	CompleteUpload(ctx context.Context, tenant, id string, f NewFile) (Upload, File, error)
	// CancelUpload gives ErrConflict when the upload is completed or expired,
	// and the same answer again when it is cancelled.
	CancelUpload(ctx context.Context, tenant, id string) (Upload, error)
}

// BatchStore keeps the rows of batches.
type BatchStore interface {
	// CreateBatch makes a batch that is Validating. A known IdempotencyKey
	// of the tenant gives the batch that it made, created false, or
	// ErrKeyReused when RequestHash differs.
	CreateBatch(ctx context.Context, b NewBatch) (batch Batch, created bool, err error)
	Batch(ctx context.Context, tenant, id string) (Batch, error)
	// Batches pages as Files does.
	Batches(ctx context.Context, tenant string, q BatchQuery) (page []Batch, more bool, err error)
	// CancelBatch moves a running batch to Cancelling (Ending Cancelled) and
	// makes every claim on it and its slices stale, so that no result is
	// added any more. A batch that is Cancelling or Cancelled is returned
	// as it is; another terminal one is returned with ErrConflict.
	CancelBatch(ctx context.Context, tenant, id string) (Batch, error)
	// DeleteBatch hides a batch with its output and error file. One that is
	// not terminal becomes Cancelled first, without files, and every claim on
	// it and its slices stale, as CancelBatch makes them. What a deletion asks
	// for is done in one transaction: nothing is left to do if it is the last
	// thing that happens. ErrConflict, with the batch, is for a batch that is
	// not terminal when the deletion is EndedOnly.
	DeleteBatch(ctx context.Context, tenant, id string, d Deletion) (Batch, error)
}

// Deletion says how a batch is deleted.
type Deletion struct {
	// Input deletes the input file too, when no other batch uses it.
	Input bool
	// EndedOnly refuses a batch that is not terminal.
	EndedOnly bool
}

// WorkStore is what workers need.
type WorkStore interface {
	// ActiveBatches lists the batches that are InProgress, all tenants, those
	// that are paused behind the others, by priority (larger first), then
	// deadline, then age; at most limit.
	ActiveBatches(ctx context.Context, limit int) ([]Batch, error)
	// InputFile gives the input of a batch, even if deleted or expired since.
	InputFile(ctx context.Context, batchID string) (File, error)
	// ClaimableSlices lists slices of an InProgress batch that is not paused
	// that are unfinished and not leased, in input order.
	ClaimableSlices(ctx context.Context, batchID string, limit int) ([]int, error)
	// LapsedSlices lists slices of such a batch, in input order, whose lease
	// ended although they are unfinished: whoever had them is gone or hangs.
	// It looks among the first LapsedDepth unfinished ones.
	LapsedSlices(ctx context.Context, batchID string, limit int) ([]int, error)
	// ClaimSlices claims those of refs that are unfinished, not leased and
	// of an InProgress batch that is not paused: Attempt goes up by one, the lease runs from
	// now. The others are left out without an error. Lines that others kept
	// when they gave a slice back are theirs no longer if their lease has
	// ended.
	ClaimSlices(ctx context.Context, by Claimant, refs []SliceRef) ([]Slice, error)
	// RenewSlices extends the leases and tells which claims are stale.
	RenewSlices(ctx context.Context, claims []SliceClaim, lease time.Duration) (lost []SliceClaim, err error)
	// ReleaseSlices gives claims back, stale ones are passed over. Lines to
	// keep stay the claimant's for as long as a lease: under its claim it
	// commits their results, renews it, and gives it back in the end. Whoever
	// claims the slice meanwhile finds them in Kept. A slice in which nothing
	// else is left to do cannot be claimed until their lease has ended.
	ReleaseSlices(ctx context.Context, released []Release, lease time.Duration) error
	// CommitResults adds results in one transaction: segments, done bits,
	// counts and usage of the batch, and usage_15m. A write with a stale
	// claim is left out and its claim returned; a line that is done already
	// is passed over, so that a commit of unknown outcome can be repeated.
	// A slice whose last line is done loses its lease. A batch whose last
	// line is done becomes Finalizing (Ending Completed) in the same
	// transaction.
	CommitResults(ctx context.Context, writes []SegmentWrite) (stale []SliceClaim, err error)
}

// Claimant is who claims slices.
type Claimant struct {
	Owner string
	Lease time.Duration
	// Patient leaves out slices whose lease has ended although they are
	// unfinished: who has them may have been kept from renewing it.
	Patient bool
}

// LapsedDepth is how many slices LapsedSlices looks at. Slices are claimed about
// in their order, so that those which were are the first unfinished ones.
const LapsedDepth = 1000

// Task is what is to be done with a batch of which no line runs.
type Task int

// The tasks.
const (
	Validate Task = iota // a batch that is Validating
	Finalize             // one that is Finalizing or Cancelling
)

// FinishStore is what validating and finalizing need.
type FinishStore interface {
	// ClaimBatch claims a batch that is not leased: one for the task if there is
	// one, else one for the other. Of those for a task the largest priority comes
	// first, then the oldest; ErrNotFound when there is none at all.
	ClaimBatch(ctx context.Context, owner string, lease time.Duration, task Task) (BatchClaim, error)
	// RenewBatch and ReleaseBatch give ErrStale for an old claim.
	RenewBatch(ctx context.Context, c BatchClaim, lease time.Duration) error
	ReleaseBatch(ctx context.Context, c BatchClaim) error
	// StartBatch inserts the slices and moves the batch from Validating to
	// InProgress; ErrStale when the claim is old.
	StartBatch(ctx context.Context, c BatchClaim, p Plan) error
	// Slices lists slices by number from first on, whatever their state.
	Slices(ctx context.Context, batchID string, first, limit int) ([]Slice, error)
	// Results gives the committed results of a slice by Index: Index,
	// Failed, Record, Usage and LineInfo are set.
	Results(ctx context.Context, ref SliceRef) ([]LineResult, error)
	// FailBatch moves the batch from Validating to Failed with findings.
	FailBatch(ctx context.Context, c BatchClaim, findings []openai.BatchError) error
	// FinishBatch makes the rows of the files and moves the batch to its
	// Ending; ErrStale when the claim is old.
	FinishBatch(ctx context.Context, c BatchClaim, o Outcome) error
}

// CollectStore is what the collector needs. Each does a bounded piece of work
// and tells how much, so that it is called again until nothing is left.
type CollectStore interface {
	// ExpireBatches moves InProgress batches whose time is over to
	// Finalizing (Ending Expired) and makes the claims on their slices
	// stale, as CancelBatch does. It returns their ids.
	ExpireBatches(ctx context.Context, limit int) ([]string, error)
	// ExpireUploads ends pending uploads whose time is over.
	ExpireUploads(ctx context.Context, limit int) (int, error)
	// DropWork removes slices and segments of terminal batches.
	DropWork(ctx context.Context, limit int) (int, error)
	// Garbage lists content keys that nothing needs: of files deleted or
	// expired that no unfinished batch has as input, and of parts whose
	// upload is over. What it has listed no batch can be made of any more.
	Garbage(ctx context.Context, limit int) ([]string, error)
	// Collected says that the contents are gone: they are not listed again.
	Collected(ctx context.Context, keys []string) error
	// Forget removes rows deleted or expired more than an hour ago whose
	// contents are gone, and batches deleted as long ago.
	Forget(ctx context.Context, limit int) (int, error)
	// UnknownKeys gives those of keys that no row names.
	UnknownKeys(ctx context.Context, keys []string) ([]string, error)
}

// UsageStore counts.
type UsageStore interface {
	// AddUsage adds to the present 15-minute bucket.
	AddUsage(ctx context.Context, records []UsageRecord) error
	// Usage sums buckets from since on; for checks and the dashboard.
	Usage(ctx context.Context, tenant string, since time.Time) ([]UsageRecord, error)
	// Now is the database's clock.
	Now(ctx context.Context) (time.Time, error)
}

// ControlStore changes how a batch is worked on. Its methods give ErrNotFound
// as BatchStore's do, and ErrConflict with the batch when that is neither
// Validating nor InProgress.
type ControlStore interface {
	// PauseBatch sets PausedAt and PauseReason: no slice of the batch can be claimed, claims
	// that are held stay good. Its time goes on running out. A batch that is
	// paused is returned as it is.
	PauseBatch(ctx context.Context, tenant, id, reason string) (Batch, error)
	// ResumeBatch ends the pause of a batch, if it has one, and its reason.
	ResumeBatch(ctx context.Context, tenant, id string) (Batch, error)
	// PrioritizeBatch sets the priority of a batch.
	PrioritizeBatch(ctx context.Context, tenant, id string, priority int) (Batch, error)
	// BatchOfKey gives the batch that an idempotency key made, ErrKeyReused
	// when it came with another hash, ErrNotFound when it was not used.
	BatchOfKey(ctx context.Context, tenant, key, hash string) (Batch, error)
}

// FlowStore tells how quickly lines of models end, and which models batches wait for.
type FlowStore interface {
	// Flow returns what all gateways got done by model and minute, the newest
	// minutes first, from the one on that since lies in; at most limit. The model ""
	// sums the lines of batches that name several models. Lines are counted by
	// CommitResults, also those of batches that are deleted since.
	Flow(ctx context.Context, since time.Time, limit int) ([]ModelMinute, error)
	// WaitingBatches lists the batches that are Validating, all tenants, by priority
	// (larger first), then age; at most limit.
	WaitingBatches(ctx context.Context, limit int) ([]Batch, error)
	// CountLines sets how many lines a batch that is Validating has of each model,
	// instead of what was set before; ErrStale when the claim is old.
	CountLines(ctx context.Context, c BatchClaim, lines []ModelLines) error
	// BatchModels lists the lines by model of batches that are Validating or
	// InProgress, as CountLines and StartBatch set them, those of a batch together;
	// at most limit. It lists none of a batch whose lines were not counted, and none
	// of one that was started with a single model.
	BatchModels(ctx context.Context, limit int) ([]BatchModel, error)
}

// EstimateStore tells how quickly batches go on.
type EstimateStore interface {
	// Progress gives the minutes of batches, by their ids, from the one on
	// that since lies in, in order, without those in which nothing ended. It
	// gives none of a batch that is deleted, nor of one whose minutes are too
	// old (see AnalyticsStore.PruneHistory).
	Progress(ctx context.Context, ids []string, since time.Time) (map[string][]Minute, error)
}

// UpstreamModelStore remembers what models upstreams told, so that a gateway that
// is started while they are away does not call their models unknown.
type UpstreamModelStore interface {
	// UpstreamModels returns what was set last, by upstream.
	UpstreamModels(ctx context.Context) (map[string]string, error)
	// SetUpstreamModels sets the models of an upstream, as text. What was set
	// longest ago is forgotten when there are over a thousand upstreams.
	SetUpstreamModels(ctx context.Context, upstream, models string) error
}

// UpstreamsKept is how many upstreams an UpstreamModelStore remembers.
const UpstreamsKept = 1000

// ContentStore knows which contents there are to be.
type ContentStore interface {
	// Place returns the name of the place whose contents belong with the
	// database, "" when none was set. See Placed.
	Place(ctx context.Context) (string, error)
	SetPlace(ctx context.Context, place string) error
	// NeededContents lists contents that files need: those of files that are
	// neither deleted nor expired, and inputs of unfinished batches. The newest
	// files come first; before continues a listing below the Seq of its last
	// entry, 0 begins it.
	NeededContents(ctx context.Context, before int64, limit int) ([]NeededContent, error)
	// Quarantine notes contents that no row names and returns when each was first
	// noted.
	Quarantine(ctx context.Context, keys []string) ([]UnknownContent, error)
	// PruneQuarantine forgets contents that no call of Quarantine has named since
	// a time: they are gone, or have got a row.
	PruneQuarantine(ctx context.Context, since time.Time) error
}

// AnalyticsStore answers what reports ask. None of it goes through tables that
// grow with finished work: counters are kept on write, lists are by index.
type AnalyticsStore interface {
	// UsageSeries sums usage of a model ("" for all) by class over steps of a
	// period, in order, without steps in which nothing was used.
	UsageSeries(ctx context.Context, tenant, model string, p Period) ([]UsagePoint, error)
	// UsageByModel sums usage by class and model over a period, which are
	// set besides the sums.
	UsageByModel(ctx context.Context, tenant string, p Period) ([]UsageRecord, error)
	// Events counts events by kind over steps of a period, in order, without
	// steps in which there were none.
	Events(ctx context.Context, tenant string, p Period) ([]EventPoint, error)
	// BatchStates counts batches that are not deleted by status.
	BatchStates(ctx context.Context, tenant string) (map[Status]int64, error)
	// Waiting tells what batches that are InProgress have before them.
	Waiting(ctx context.Context, tenant string) (Waiting, error)
	// FindBatches lists batches, newest first. A page of a search for text
	// may be short, even empty, while More is true: one call looks at a
	// bounded number of batches. ErrBadCursor is for an After of no page.
	FindBatches(ctx context.Context, tenant string, f BatchFilter) (BatchPage, error)
	// FileUses tells which batches have files as their input, by the ids of
	// the files, those that none has left out; of each file the latest few
	// batches.
	FileUses(ctx context.Context, tenant string, ids []string, latest int) (map[string]FileUse, error)
	// FileNames gives the names of files by their ids, of deleted ones too as
	// long as their rows are there. Unknown ids are left out.
	FileNames(ctx context.Context, tenant string, ids []string) (map[string]string, error)
	// LargestFiles lists files, those with the most bytes first.
	LargestFiles(ctx context.Context, tenant string, limit int) ([]File, error)
	// Storage sums by purpose what the contents of files take, deleted ones
	// that are not collected yet included. Parts of uploads are of purpose
	// PurposePart, indexes of results of PurposeIndex.
	Storage(ctx context.Context, tenant string) ([]StorageUse, error)
	// Pace gives what batches of all tenants got done by minute, the newest
	// minutes first, from the one on that since lies in; at most limit.
	Pace(ctx context.Context, since time.Time, limit int) ([]Pace, error)
	// PruneHistory removes usage and events older than HistoryTTL and
	// minutes of batches older than MinutesTTL, at most limit rows.
	PruneHistory(ctx context.Context, limit int) (int, error)
}

// NeededContent is the content of a file.
type NeededContent struct {
	Seq    int64 // of the file's row; newer rows have larger ones
	FileID string
	Key    string
}

// UnknownContent is a content that no row names.
type UnknownContent struct {
	Key   string
	Since time.Time // by the database's clock
}
