package postgres

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/batch/store/storetest"
)

// benchFill creates 100,000 batches over a year, a file for each, and a year of
// usage with 2 classes, 3 models and one endpoint. $1 is the current bucket.
var benchFill = []string{
	`INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at)
		SELECT 'file-' || i, 'acme', 'content-' || i, 'input-' || i || '.jsonl', 'batch', 1000, '', $1::bigint - (100000 - i) * 315360000::bigint FROM generate_series(1, 100000) i`,
	`INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl, idempotency_key, request_hash,
			status, model, total, completed, created_at, expires_at, in_progress_at)
		SELECT 'batch_' || i, 'acme', '/v1/chat/completions', 'file-' || i, (SELECT seq FROM files WHERE id = 'file-' || i), '24h', '{"job":"nightly-' || i || '"}', 0, 0, '', '',
			CASE WHEN i % 50 = 0 THEN 'in_progress' ELSE 'completed' END, 'model-' || (i % 3), 1000, 500,
			$1::bigint - (100000 - i) * 315360000::bigint, $1::bigint + 1000000, $1::bigint - (100000 - i) * 315360000::bigint FROM generate_series(1, 100000) i`,
	`INSERT INTO usage_15m SELECT 'acme', $1::bigint - i * 900000000::bigint, c, m, '/v1/chat/completions', 10, 1, 1000, 10, 500, 5, 1500
		FROM generate_series(0, 35040) i, unnest(ARRAY['live', 'batch']) c, unnest(ARRAY['model-0', 'model-1', 'model-2']) m`,
}

// BenchmarkReports runs the queries of reports on a large database.
func BenchmarkReports(b *testing.B) {
	url := server.NewDatabase(b)
	s := opened(b, url)
	c, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	for _, fill := range benchFill {
		if _, err := c.Exec(b.Context(), fill, store.BucketOf(time.Now())); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := c.Exec(b.Context(), `VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	if err := c.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	storetest.BenchReports(b, s)
}
