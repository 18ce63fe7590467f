package sqlite

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// TestFiltersOfAllTenants has more batches than a text search examines, and the filters find
// only the oldest one. It finds a filter of all tenants that stops after some rows, with an
// empty page.
func TestFiltersOfAllTenants(t *testing.T) {
	s := openStore(t, databasePath(t))
	const fill = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO batches (id, tenant, endpoint, input_file_id, completion_window, priority, output_ttl, idempotency_key, request_hash,
			status, model, created_at, expires_at, paused_at)
		SELECT 'batch_' || i, 'tenant-' || i % 7, '', '', '24h', 0, 0, '', '',
			CASE i WHEN 1 THEN 'in_progress' ELSE 'completed' END, CASE i WHEN 1 THEN 'rare' ELSE 'm' END, i * 10000000, 0, 1 FROM n`
	if _, err := s.writer.db.ExecContext(t.Context(), fill, store.SearchRows+1); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]batch.BatchFilter{
		"active": {Active: true}, "paused": {Paused: true}, "status": {Status: batch.InProgress}, "model": {Model: "rare"},
		"status and model": {Status: batch.InProgress, Model: "rare"}, "active, of a model": {Active: true, Model: "rare"}, "paused, of a model": {Paused: true, Model: "rare"},
		"a period": {To: time.UnixMicro(15_000_000)},
	} {
		f.Limit = 5
		page, err := s.FindBatches(t.Context(), batch.AllTenants, f)
		if err != nil || len(page.Batches) != 1 || page.Batches[0].ID != "batch_1" || page.More {
			t.Errorf("%s: got %d batches, more: %t, %v; want batch_1 alone", name, len(page.Batches), page.More, err)
		}
	}
}
