package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/pgtest"
)

// stored describes a file with a content.
func stored(owner, purpose string) *batch.NewFile {
	id := openai.NewID("file-")
	return &batch.NewFile{ID: id, Tenant: owner, Key: id, Filename: "f", Purpose: purpose, Bytes: 1}
}

// live makes a batch of one of three tenants, works it off, ends it, and deletes
// it with its files.
func live(t *testing.T, s *Store) error {
	ctx := t.Context()
	tenant := fmt.Sprint(tenant, rand.IntN(3))
	in := stored(tenant, openai.PurposeBatch)
	if _, err := s.CreateFile(ctx, *in); err != nil {
		return err
	}
	b, _, err := s.CreateBatch(ctx, batch.NewBatch{ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: in.ID, CompletionWindow: "24h", Window: time.Hour})
	if err != nil {
		return err
	}
	for {
		now, err := s.Batch(ctx, tenant, b.ID)
		if err != nil {
			return err
		}
		if now.Status.Terminal() {
			_, err = s.DeleteBatch(ctx, tenant, b.ID, batch.Deletion{Input: true})
			return err
		}
		c, err := s.ClaimBatch(ctx, "batch worker", time.Minute, batch.Validate)
		switch {
		case errors.Is(err, batch.ErrNotFound):
		case err != nil:
			return err
		case c.Batch.Status == batch.Validating:
			err = s.StartBatch(ctx, c, batch.Plan{Model: "m", Lines: 2, Slices: []batch.SlicePlan{{Length: 1, Lines: 1}, {Offset: 1, Length: 1, FirstLine: 1, Lines: 1}}})
		default:
			err = s.FinishBatch(ctx, c, batch.Outcome{
				Output: stored(tenant, openai.PurposeBatchOutput), Error: stored(tenant, openai.PurposeBatchOutput), Index: stored(batch.IndexTenant(tenant), batch.PurposeIndex),
			})
		}
		if err != nil && !errors.Is(err, batch.ErrNotFound) && !errors.Is(err, batch.ErrStale) {
			return err
		}
		if rand.IntN(8) == 0 {
			_, err := s.DeleteBatch(ctx, tenant, b.ID, batch.Deletion{Input: true})
			return err
		}
		if rand.IntN(8) == 0 {
			if _, err := s.CancelBatch(ctx, tenant, b.ID); err != nil && !errors.Is(err, batch.ErrConflict) {
				return err
			}
		}
		if err := s.workOff(ctx, b); err != nil {
			return err
		}
	}
}

// workOff commits both lines of a batch, together with those of another if there is
// one.
func (s *Store) workOff(ctx context.Context, b batch.Batch) error {
	refs := []batch.SliceRef{{BatchID: b.ID, Number: 1}, {BatchID: b.ID}}
	others, err := s.ActiveBatches(ctx, 4)
	if err != nil {
		return err
	}
	for _, o := range others {
		refs = append(refs, batch.SliceRef{BatchID: o.ID}, batch.SliceRef{BatchID: o.ID, Number: 1})
	}
	claimed, err := s.ClaimSlices(ctx, batch.Claimant{Owner: "worker", Lease: time.Minute}, refs)
	if err != nil || len(claimed) == 0 {
		return err
	}
	var group []batch.SegmentWrite
	for _, c := range claimed {
		l := result(c.Number, 0)
		l.Model = string(rune('a' + rand.IntN(6)))
		group = append(group, batch.SegmentWrite{Claim: c.SliceClaim, Lines: []batch.LineResult{l}})
	}
	_, err = s.CommitResults(ctx, group)
	return err
}

// upload makes an upload of parts of one of three tenants, and completes or
// cancels it.
func upload(t *testing.T, s *Store) error {
	ctx := t.Context()
	tenant := fmt.Sprint(tenant, rand.IntN(3))
	u, err := s.CreateUpload(ctx, batch.Upload{ID: openai.NewID("upload_"), Tenant: tenant, Purpose: openai.PurposeBatch}, time.Hour, batch.Quota{})
	if err != nil {
		return err
	}
	for range 3 {
		id := openai.NewID("part_")
		if _, err := s.AddPart(ctx, tenant, batch.UploadPart{ID: id, UploadID: u.ID, Key: id, Bytes: 1}, batch.Quota{}); err != nil {
			return err
		}
	}
	if rand.IntN(2) == 0 {
		_, err = s.CancelUpload(ctx, tenant, u.ID)
		return err
	}
	_, f, err := s.CompleteUpload(ctx, tenant, u.ID, *stored(tenant, openai.PurposeBatch))
	if err != nil {
		return err
	}
	return s.DeleteFile(ctx, tenant, f.ID)
}

// tidy runs the statements of the cleaner, without contents.
func tidy(t *testing.T, s *Store) error {
	ctx := t.Context()
	if _, err := s.ExpireBatches(ctx, 10); err != nil {
		return err
	}
	if _, err := s.ExpireUploads(ctx, 10); err != nil {
		return err
	}
	if _, err := s.DropWork(ctx, 10); err != nil {
		return err
	}
	keys, err := s.Garbage(ctx, 50)
	if err != nil {
		return err
	}
	if err := s.Collected(ctx, keys); err != nil {
		return err
	}
	if _, err := s.Forget(ctx, 50); err != nil {
		return err
	}
	_, err = s.PruneHistory(ctx, 50)
	return err
}

// TestNoDeadlock runs operations of several instances concurrently. A deadlock would
// be retried, but blocks all of them for a second.
func TestNoDeadlock(t *testing.T) {
	own := pgtest.Start(t)
	url := own.NewDatabase(t)
	stores := []*Store{opened(t, url), opened(t, url), opened(t, url)}
	var living, going sync.WaitGroup
	over := make(chan struct{})
	repeat := func(f func(*testing.T, *Store) error, s *Store) {
		going.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := f(t, s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, s := range stores {
		repeat(tidy, s)
		repeat(upload, s)
		repeat(func(t *testing.T, s *Store) error {
			return s.AddUsage(t.Context(), []batch.UsageRecord{{Tenant: tenant, Model: string(rune('a' + rand.IntN(6)))}, {Tenant: tenant, Model: string(rune('a' + rand.IntN(6)))}})
		}, s)
		for range 3 {
			living.Go(func() {
				for range 20 {
					if err := live(t, s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	living.Wait()
	close(over)
	going.Wait()
	wantNoDeadlock(t, own)
}

// Commits that end batches of the same tenants in another order count their
// states in one order.
func TestEndsOfSeveralTenants(t *testing.T) {
	own := pgtest.Start(t)
	url := own.NewDatabase(t)
	stores := []*Store{opened(t, url), opened(t, url)}
	ctx := t.Context()
	begin := func(tenant string) batch.SliceRef {
		in := stored(tenant, openai.PurposeBatch)
		if _, err := stores[0].CreateFile(ctx, *in); err != nil {
			t.Fatal(err)
		}
		b, _, err := stores[0].CreateBatch(ctx, batch.NewBatch{ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: in.ID, CompletionWindow: "24h", Window: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		c, err := stores[0].ClaimBatch(ctx, "batch worker", time.Minute, batch.Validate)
		if err != nil {
			t.Fatal(err)
		}
		if err := stores[0].StartBatch(ctx, c, batch.Plan{Model: "m", Lines: 1, Slices: []batch.SlicePlan{{Length: 1, Lines: 1}}}); err != nil {
			t.Fatal(err)
		}
		return batch.SliceRef{BatchID: b.ID}
	}
	for range 40 {
		// The rows are stored in both orders: one and two, two and one.
		var groups [2][]batch.SegmentWrite
		for i, tenants := range [][]string{{"one", "two"}, {"two", "one"}} {
			var refs []batch.SliceRef
			for _, tenant := range tenants {
				refs = append(refs, begin(tenant))
			}
			claimed, err := stores[i].ClaimSlices(ctx, batch.Claimant{Owner: "worker", Lease: time.Minute}, refs)
			if err != nil || len(claimed) != 2 {
				t.Fatalf("claimed %d slices: %v", len(claimed), err)
			}
			for _, c := range claimed {
				groups[i] = append(groups[i], batch.SegmentWrite{Claim: c.SliceClaim, Lines: []batch.LineResult{result(c.Number, 0)}})
			}
		}
		var both sync.WaitGroup
		for i, s := range stores {
			both.Go(func() {
				if _, err := s.CommitResults(ctx, groups[i]); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	wantNoDeadlock(t, own)
}

func wantNoDeadlock(t *testing.T, s *pgtest.Server) {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	if at := bytes.Index(log, []byte("deadlock detected")); at >= 0 {
		t.Errorf("%s", log[at:min(len(log), at+2000)])
	}
}
