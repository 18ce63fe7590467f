package postgres

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestRoundTrips counts the round trips of operations after their statements are
// prepared.
func TestRoundTrips(t *testing.T) {
	p, through := behindProxy(t, server.NewDatabase(t))
	s := made(t, through)
	s.idle = time.Hour // on a loaded machine a connection is idle for longer than usual, and would be probed
	ctx := t.Context()
	if err := s.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	<-s.Wake() // the listener has connected, which takes round trips too
	b := running(t, s, 32)
	var refs []batch.SliceRef
	for i := range 24 {
		refs = append(refs, batch.SliceRef{BatchID: b.ID, Number: i})
	}
	claimed, err := s.ClaimSlices(ctx, batch.Claimant{Owner: "worker", Lease: time.Hour}, refs)
	if err != nil || len(claimed) != len(refs) {
		t.Fatalf("claimed %d slices: %v", len(claimed), err)
	}
	var claims []batch.SliceClaim
	for _, c := range claimed {
		claims = append(claims, c.SliceClaim)
	}
	up, err := s.CreateUpload(ctx, batch.Upload{ID: "upload_1", Tenant: tenant}, time.Hour, batch.Quota{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for range 20 {
		p, err := s.AddPart(ctx, tenant, batch.UploadPart{ID: openai.NewID("part_"), UploadID: up.ID, Key: openai.NewID("")}, batch.Quota{})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p.ID)
	}
	limit := batch.StorageLimit{Bytes: 1 << 40, Files: 1000, Uploads: 1000}
	createFile := func(q batch.Quota) error {
		_, err := s.CreateFile(ctx, batch.NewFile{ID: openai.NewID("file-"), Key: openai.NewID(""), Tenant: tenant, Filename: "a.jsonl", Purpose: openai.PurposeBatch, Bytes: 10, Quota: q})
		return err
	}
	line := 0
	for _, c := range []struct {
		name string
		want int64
		do   func() error
	}{
		{"Batch", 3, func() error { _, err := s.Batch(ctx, tenant, b.ID); return err }},
		{"ActiveBatches", 3, func() error { _, err := s.ActiveBatches(ctx, 10); return err }},
		{"ClaimableSlices", 3, func() error { _, err := s.ClaimableSlices(ctx, b.ID, 8); return err }},
		{"ClaimSlices", 3, func() error {
			_, err := s.ClaimSlices(ctx, batch.Claimant{Owner: "worker", Lease: time.Hour}, refs)
			return err
		}},
		{"RenewSlices", 3, func() error { _, err := s.RenewSlices(ctx, claims, time.Hour); return err }},
		{"CommitResults of 256 lines in 8 slices", 2, func() error {
			var group []batch.SegmentWrite
			for _, c := range claims[line*8 : line*8+8] {
				w := batch.SegmentWrite{Claim: c}
				for i := range 32 {
					w.Lines = append(w.Lines, result(c.Number, i))
				}
				group = append(group, w)
			}
			line++
			_, err := s.CommitResults(ctx, group)
			return err
		}},
		{"Parts", 4, func() error { _, err := s.Parts(ctx, tenant, up.ID, parts); return err }},
		{"AddUsage", 2, func() error { return s.AddUsage(ctx, []batch.UsageRecord{{Tenant: tenant, Requests: 1}}) }},
		{"CreateBatch", 4, func() error {
			_, _, err := s.CreateBatch(ctx, batch.NewBatch{ID: openai.NewID("batch_"), Tenant: tenant, InputFileID: "x", Window: time.Hour})
			return err
		}},
		{"CreateFile with limits of the tenant", 5, func() error {
			return createFile(batch.Quota{Tenant: limit})
		}},
		{"CreateFile with limits of all", 7, func() error {
			return createFile(batch.Quota{Tenant: limit, All: limit})
		}},
		{"CreateUpload with limits of all", 9, func() error {
			_, err := s.CreateUpload(ctx, batch.Upload{ID: openai.NewID("upload_"), Tenant: tenant}, time.Hour, batch.Quota{Tenant: limit, All: limit})
			return err
		}},
		{"AddPart with limits of all", 8, func() error {
			_, err := s.AddPart(ctx, tenant, batch.UploadPart{ID: openai.NewID("part_"), UploadID: up.ID, Key: openai.NewID("")}, batch.Quota{Tenant: limit, All: limit, Parts: 1000})
			return err
		}},
	} {
		if err := c.do(); err != nil { // prepares
			t.Fatalf("%s: %v", c.name, err)
		}
		before := p.trips.Load()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := p.trips.Load() - before; got != c.want {
			t.Errorf("%s takes %d round trips, want %d", c.name, got, c.want)
		}
	}
}
