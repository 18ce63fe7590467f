package failpoint

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// Store puts the points before and after the calls to a store.
func (s *Set) Store(inner batch.Store) batch.Store {
	plain := &store{Store: inner, set: s}
	registry, shared := inner.(batch.Registry)
	waker, wakes := inner.(batch.Waker)
	if shared && wakes {
		return &sharedStore{plain, registry, waker}
	}
	return plain
}

// sharedStore keeps what a store that several gateways share offers besides.
type sharedStore struct {
	*store
	batch.Registry
	batch.Waker
}

type store struct {
	batch.Store
	set *Set
}

// CreateBatch and CompleteUpload give two values, and so have no shorter form.

func (s *store) CreateBatch(ctx context.Context, b batch.NewBatch) (made batch.Batch, created bool, err error) {
	err = s.set.do("store.CreateBatch", func() error { made, created, err = s.Store.CreateBatch(ctx, b); return err })
	return made, created, err
}

func (s *store) CompleteUpload(ctx context.Context, tenant, id string, nf batch.NewFile) (u batch.Upload, f batch.File, err error) {
	err = s.set.do("store.CompleteUpload", func() error { u, f, err = s.Store.CompleteUpload(ctx, tenant, id, nf); return err })
	return u, f, err
}

func (s *store) Open(ctx context.Context) error {
	return s.set.open(ctx, "store.Open", s.Store)
}

func (s *store) CreateFile(ctx context.Context, f batch.NewFile) (batch.File, error) {
	return get(s.set, "store.CreateFile", func() (batch.File, error) { return s.Store.CreateFile(ctx, f) })
}

func (s *store) File(ctx context.Context, tenant, id string) (batch.File, error) {
	return get(s.set, "store.File", func() (batch.File, error) { return s.Store.File(ctx, tenant, id) })
}

func (s *store) DeleteFile(ctx context.Context, tenant, id string) error {
	return s.set.do("store.DeleteFile", func() error { return s.Store.DeleteFile(ctx, tenant, id) })
}

func (s *store) CreateUpload(ctx context.Context, u batch.Upload, ttl time.Duration) (batch.Upload, error) {
	return get(s.set, "store.CreateUpload", func() (batch.Upload, error) { return s.Store.CreateUpload(ctx, u, ttl) })
}

func (s *store) Upload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	return get(s.set, "store.Upload", func() (batch.Upload, error) { return s.Store.Upload(ctx, tenant, id) })
}

func (s *store) OpenUploads(ctx context.Context, tenant string) (int, error) {
	return get(s.set, "store.OpenUploads", func() (int, error) { return s.Store.OpenUploads(ctx, tenant) })
}

func (s *store) CountParts(ctx context.Context, tenant, uploadID string) (int, error) {
	return get(s.set, "store.CountParts", func() (int, error) { return s.Store.CountParts(ctx, tenant, uploadID) })
}

func (s *store) AddPart(ctx context.Context, tenant string, p batch.UploadPart) (batch.UploadPart, error) {
	return get(s.set, "store.AddPart", func() (batch.UploadPart, error) { return s.Store.AddPart(ctx, tenant, p) })
}

func (s *store) Parts(ctx context.Context, tenant, uploadID string, ids []string) ([]batch.UploadPart, error) {
	return get(s.set, "store.Parts", func() ([]batch.UploadPart, error) { return s.Store.Parts(ctx, tenant, uploadID, ids) })
}

func (s *store) CancelUpload(ctx context.Context, tenant, id string) (batch.Upload, error) {
	return get(s.set, "store.CancelUpload", func() (batch.Upload, error) { return s.Store.CancelUpload(ctx, tenant, id) })
}

func (s *store) Batch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return get(s.set, "store.Batch", func() (batch.Batch, error) { return s.Store.Batch(ctx, tenant, id) })
}

func (s *store) CancelBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return get(s.set, "store.CancelBatch", func() (batch.Batch, error) { return s.Store.CancelBatch(ctx, tenant, id) })
}

func (s *store) DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (batch.Batch, error) {
	return get(s.set, "store.DeleteBatch", func() (batch.Batch, error) { return s.Store.DeleteBatch(ctx, tenant, id, d) })
}

func (s *store) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	return get(s.set, "store.ActiveBatches", func() ([]batch.Batch, error) { return s.Store.ActiveBatches(ctx, limit) })
}

func (s *store) InputFile(ctx context.Context, batchID string) (batch.File, error) {
	return get(s.set, "store.InputFile", func() (batch.File, error) { return s.Store.InputFile(ctx, batchID) })
}

func (s *store) LapsedSlices(ctx context.Context, batchID string, limit int) ([]int, error) {
	return get(s.set, "store.LapsedSlices", func() ([]int, error) { return s.Store.LapsedSlices(ctx, batchID, limit) })
}

func (s *store) ClaimableSlices(ctx context.Context, batchID string, limit int) ([]int, error) {
	return get(s.set, "store.ClaimableSlices", func() ([]int, error) { return s.Store.ClaimableSlices(ctx, batchID, limit) })
}

func (s *store) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	return get(s.set, "store.ClaimSlices", func() ([]batch.Slice, error) { return s.Store.ClaimSlices(ctx, by, refs) })
}

func (s *store) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	return get(s.set, "store.RenewSlices", func() ([]batch.SliceClaim, error) { return s.Store.RenewSlices(ctx, claims, lease) })
}

func (s *store) ReleaseSlices(ctx context.Context, released []batch.Release, lease time.Duration) error {
	return s.set.do("store.ReleaseSlices", func() error { return s.Store.ReleaseSlices(ctx, released, lease) })
}

func (s *store) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	return get(s.set, "store.CommitResults", func() ([]batch.SliceClaim, error) { return s.Store.CommitResults(ctx, writes) })
}

func (s *store) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	return get(s.set, "store.ClaimBatch", func() (batch.BatchClaim, error) { return s.Store.ClaimBatch(ctx, owner, lease, task) })
}

func (s *store) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	return s.set.do("store.RenewBatch", func() error { return s.Store.RenewBatch(ctx, c, lease) })
}

func (s *store) ReleaseBatch(ctx context.Context, c batch.BatchClaim) error {
	return s.set.do("store.ReleaseBatch", func() error { return s.Store.ReleaseBatch(ctx, c) })
}

func (s *store) StartBatch(ctx context.Context, c batch.BatchClaim, p batch.Plan) error {
	return s.set.do("store.StartBatch", func() error { return s.Store.StartBatch(ctx, c, p) })
}

func (s *store) Slices(ctx context.Context, batchID string, first, limit int) ([]batch.Slice, error) {
	return get(s.set, "store.Slices", func() ([]batch.Slice, error) { return s.Store.Slices(ctx, batchID, first, limit) })
}

func (s *store) Results(ctx context.Context, ref batch.SliceRef) ([]batch.LineResult, error) {
	return get(s.set, "store.Results", func() ([]batch.LineResult, error) { return s.Store.Results(ctx, ref) })
}

func (s *store) FailBatch(ctx context.Context, c batch.BatchClaim, findings []openai.BatchError) error {
	return s.set.do("store.FailBatch", func() error { return s.Store.FailBatch(ctx, c, findings) })
}

func (s *store) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	return s.set.do("store.FinishBatch", func() error { return s.Store.FinishBatch(ctx, c, o) })
}

func (s *store) ExpireBatches(ctx context.Context, limit int) ([]string, error) {
	return get(s.set, "store.ExpireBatches", func() ([]string, error) { return s.Store.ExpireBatches(ctx, limit) })
}

func (s *store) ExpireUploads(ctx context.Context, limit int) (int, error) {
	return get(s.set, "store.ExpireUploads", func() (int, error) { return s.Store.ExpireUploads(ctx, limit) })
}

func (s *store) DropWork(ctx context.Context, limit int) (int, error) {
	return get(s.set, "store.DropWork", func() (int, error) { return s.Store.DropWork(ctx, limit) })
}

func (s *store) Garbage(ctx context.Context, limit int) ([]string, error) {
	return get(s.set, "store.Garbage", func() ([]string, error) { return s.Store.Garbage(ctx, limit) })
}

func (s *store) Collected(ctx context.Context, keys []string) error {
	return s.set.do("store.Collected", func() error { return s.Store.Collected(ctx, keys) })
}

func (s *store) Forget(ctx context.Context, limit int) (int, error) {
	return get(s.set, "store.Forget", func() (int, error) { return s.Store.Forget(ctx, limit) })
}

func (s *store) UnknownKeys(ctx context.Context, keys []string) ([]string, error) {
	return get(s.set, "store.UnknownKeys", func() ([]string, error) { return s.Store.UnknownKeys(ctx, keys) })
}

func (s *store) Place(ctx context.Context) (string, error) {
	return get(s.set, "store.Place", func() (string, error) { return s.Store.Place(ctx) })
}

func (s *store) SetPlace(ctx context.Context, place string) error {
	return s.set.do("store.SetPlace", func() error { return s.Store.SetPlace(ctx, place) })
}

func (s *store) NeededContents(ctx context.Context, before int64, limit int) ([]batch.NeededContent, error) {
	return get(s.set, "store.NeededContents", func() ([]batch.NeededContent, error) { return s.Store.NeededContents(ctx, before, limit) })
}

func (s *store) Quarantine(ctx context.Context, keys []string) ([]batch.UnknownContent, error) {
	return get(s.set, "store.Quarantine", func() ([]batch.UnknownContent, error) { return s.Store.Quarantine(ctx, keys) })
}

func (s *store) PruneQuarantine(ctx context.Context, since time.Time) error {
	return s.set.do("store.PruneQuarantine", func() error { return s.Store.PruneQuarantine(ctx, since) })
}

func (s *store) UpstreamModels(ctx context.Context) (map[string]string, error) {
	return get(s.set, "store.UpstreamModels", func() (map[string]string, error) { return s.Store.UpstreamModels(ctx) })
}

func (s *store) SetUpstreamModels(ctx context.Context, upstream, models string) error {
	return s.set.do("store.SetUpstreamModels", func() error { return s.Store.SetUpstreamModels(ctx, upstream, models) })
}

func (s *store) AddUsage(ctx context.Context, records []batch.UsageRecord) error {
	return s.set.do("store.AddUsage", func() error { return s.Store.AddUsage(ctx, records) })
}
