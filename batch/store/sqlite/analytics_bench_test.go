package sqlite

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/batch/store/storetest"
)

// benchFill makes 100,000 batches over a year, a file for each, and a year of
// usage of 2 classes, 3 models and an endpoint. ?1 is the present bucket.
const benchFill = `
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at)
SELECT 'file-' || i, 'acme', 'content-' || i, 'input-' || i || '.jsonl', 'batch', 1000, '', ?1 - (100000 - i) * 315360000 FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl, idempotency_key, request_hash,
	status, model, total, completed, created_at, expires_at, in_progress_at)
SELECT 'batch_' || i, 'acme', '/v1/chat/completions', 'file-' || i, (SELECT seq FROM files WHERE id = 'file-' || i), '24h', '{"job":"nightly-' || i || '"}', 0, 0, '', '',
	CASE WHEN i % 50 = 0 THEN 'in_progress' ELSE 'completed' END, 'model-' || (i % 3), 1000, 500, ?1 - (100000 - i) * 315360000, ?1 + 1000000, ?1 - (100000 - i) * 315360000 FROM n;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 35040)
INSERT INTO usage_15m SELECT 'acme', ?1 - i * 900000000, c.v, m.v, '/v1/chat/completions', 10, 1, 1000, 10, 500, 5, 1500
FROM n, (SELECT 'live' AS v UNION SELECT 'batch') c, (SELECT 'model-0' AS v UNION SELECT 'model-1' UNION SELECT 'model-2') m;
ANALYZE;`

// BenchmarkReports runs the queries of reports on a large database.
func BenchmarkReports(b *testing.B) {
	s := openStore(b, databasePath(b))
	if _, err := s.writer.db.ExecContext(b.Context(), benchFill, store.BucketOf(time.Now())); err != nil {
		b.Fatal(err)
	}
	storetest.BenchReports(b, s)
}
