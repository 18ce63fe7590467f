package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// asFirstVersion fills a database with the first schema.
const asFirstVersion = `
INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at) VALUES
	('file-1', 't', 'c1', 'a', 'batch', 100, '', 1), ('file-2', 't', 'c2', 'b', 'batch', 11, '', 1), ('file-3', 't', 'c3', 'c', 'batch_output', 7, '', 1);
UPDATE files SET deleted_at = 2, collected_at = 3 WHERE id = 'file-2';
INSERT INTO uploads (id, tenant, filename, purpose, mime_type, bytes, file_ttl, status, created_at, expires_at) VALUES ('upload_1', 't', 'f', 'batch', '', 5, 0, 'pending', 1, 2);
INSERT INTO upload_parts (id, upload, content, bytes, created_at) VALUES ('part_1', 1, 'p1', 5, 1);
INSERT INTO batches (id, tenant, endpoint, input_file_id, completion_window, priority, output_ttl, idempotency_key, request_hash, status, created_at, expires_at)
	SELECT 'batch_' || status, 't', '/e', 'file-1', '24h', 0, 0, '', '', status, 1, 2 FROM (SELECT 'completed' AS status UNION SELECT 'validating');
INSERT INTO usage_15m VALUES ('t', 1800000000, 'live', 'm', '/e', 1, 0, 2, 0, 3, 0, 5), ('t', 2700000000, 'live', 'm', '/f', 1, 0, 2, 0, 3, 0, 5);`

// TestUpgrade has the counters of a database that the first version wrote.
func TestUpgrade(t *testing.T) {
	path := databasePath(t)
	steps, err := store.Migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", source(path, writing))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		createMigrations, steps[0].SQL, asFirstVersion, `INSERT INTO schema_migrations VALUES (1, 1)`,
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	states, err := s.BatchStates(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[batch.Status]int64{batch.Completed: 1, batch.Validating: 1}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	uses, err := s.Storage(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]batch.StorageUse{{Purpose: "batch", Files: 1, Bytes: 100}, {Purpose: "batch_output", Files: 1, Bytes: 7}, {Purpose: batch.PurposePart, Files: 1, Bytes: 5}}, uses); diff != "" {
		t.Errorf("storage (-want +got):\n%s", diff)
	}
	var requests, tokens float64
	if err := s.reader.db.QueryRowContext(t.Context(), `SELECT requests, total_tokens FROM usage_1d WHERE tenant = 't' AND day = 0 AND class = 'live' AND model = 'm'`).Scan(&requests, &tokens); err != nil {
		t.Fatal(err)
	}
	if requests != 2 || tokens != 10 {
		t.Errorf("%v requests, %v tokens", requests, tokens)
	}
}
