package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // for filling a database

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/batch/store/postgres"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

const (
	dashboardLines   = 5_000 // lines of the batch whose pages are requested
	dashboardTTFT    = "1s"  // so that such a batch runs for longer than pages are watched
	dashboardAsks    = 40    // requests for each page
	dashboardGoal    = 50 * time.Millisecond
	dashboardViewers = 50
	dashboardWatch   = 30 * time.Second // with viewers, and without
	dashboardRounds  = 3
	dashboardCPUGoal = 0.05 // of a core
)

// A year of 100,000 batches that are over, their files, and usage of two classes
// and three models in every 15 minutes. The parameter is the present bucket.
var (
	fillSQLite = `
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at)
SELECT 'file-' || i, 'default', 'content-' || i, 'input-' || i || '.jsonl', 'batch', 1000 + i, '', ?1 - (100000 - i) * 315360000 FROM n;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl, idempotency_key, request_hash,
	status, model, total, completed, failed, created_at, expires_at, in_progress_at, completed_at)
SELECT 'batch_' || i, 'default', '/v1/chat/completions', 'file-' || i, i + 0, '24h', '{"job":"nightly-' || i || '"}', 0, 0, '', '',
	CASE WHEN i % 50 = 0 THEN 'cancelled' ELSE 'completed' END, 'model-' || (i % 3), 1000, 990, 10, ?1 - (100000 - i) * 315360000, ?1 + 1000000, ?1 - (100000 - i) * 315360000,
	?1 - (100000 - i) * 315360000 + 600000000 FROM n;
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 35040)
INSERT INTO usage_15m SELECT 'default', ?1 - i * 900000000, c.v, m.v, '/v1/chat/completions', 10, 1, 1000, 10, 500, 5, 1500
FROM n, (SELECT 'live' AS v UNION SELECT 'batch') c, (SELECT 'model-0' AS v UNION SELECT 'model-1' UNION SELECT 'model-2') m;
ANALYZE;`
	fillPostgres = []string{
		`INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at)
			SELECT 'file-' || i, 'default', 'content-' || i, 'input-' || i || '.jsonl', 'batch', 1000 + i, '', $1::bigint - (100000 - i) * 315360000::bigint FROM generate_series(1, 100000) i`,
		`INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, metadata, priority, output_ttl, idempotency_key, request_hash,
				status, model, total, completed, failed, created_at, expires_at, in_progress_at, completed_at)
			SELECT 'batch_' || i, 'default', '/v1/chat/completions', 'file-' || i, (SELECT seq FROM files WHERE id = 'file-' || i), '24h', '{"job":"nightly-' || i || '"}', 0, 0, '', '',
				CASE WHEN i % 50 = 0 THEN 'cancelled' ELSE 'completed' END, 'model-' || (i % 3), 1000, 990, 10,
				$1::bigint - (100000 - i) * 315360000::bigint, $1::bigint + 1000000, $1::bigint - (100000 - i) * 315360000::bigint,
				$1::bigint - (100000 - i) * 315360000::bigint + 600000000 FROM generate_series(1, 100000) i`,
		`INSERT INTO usage_15m SELECT 'default', $1::bigint - i * 900000000::bigint, c, m, '/v1/chat/completions', 10, 1, 1000, 10, 500, 5, 1500
			FROM generate_series(0, 35040) i, unnest(ARRAY['live', 'batch']) c, unnest(ARRAY['model-0', 'model-1', 'model-2']) m`,
	}
)

// migrated opens and closes a store to create its schema.
func migrated(ctx context.Context, s batch.Store) error {
	if err := s.Open(ctx); err != nil {
		return fmt.Errorf("making schema: %w", err)
	}
	return s.Close()
}

func agedSQLite(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "tidegate.db")
	if err := migrated(ctx, sqlite.New(sqlite.Config{Path: path})); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return fmt.Errorf("opening database: %w", err)
	}
	_, err = db.ExecContext(ctx, fillSQLite, store.BucketOf(time.Now()))
	return errors.Join(err, db.Close())
}

func agedPostgres(ctx context.Context, url string) error {
	s, err := postgres.New(postgres.Config{URL: url})
	if err != nil {
		return err
	}
	if err := migrated(ctx, s); err != nil {
		return err
	}
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	for _, fill := range fillPostgres {
		if _, err := c.Exec(ctx, fill, store.BucketOf(time.Now())); err != nil {
			return fmt.Errorf("filling database: %w", err)
		}
	}
	_, err = c.Exec(ctx, `VACUUM ANALYZE`)
	return err
}

// measureDashboard measures the duration of pages with 100,000 batches and a year of
// usage, and the processor time of open pages.
func measureDashboard(ctx context.Context, b *bench) (any, error) {
	report := make(map[string]any)
	sim, err := b.startSim(ctx, "--ttft", dashboardTTFT, "--max-num-seqs", "64")
	if err != nil {
		return nil, err
	}
	defer sim.stop()
	db, err := startDatabase(ctx)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	for _, kind := range []string{"sqlite", "postgres"} {
		c := configured{upstreams: []*process{sim}}
		if c.data, err = os.MkdirTemp(b.dir, "data-"); err != nil {
			return nil, fmt.Errorf("making data directory: %w", err)
		}
		if kind == "sqlite" {
			err = agedSQLite(ctx, c.data)
		} else {
			var url string
			if url, err = db.create(ctx, "dashboard"); err == nil {
				c.app = "store postgres " + url
				err = agedPostgres(ctx, url)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		if report[kind], err = b.measurePages(ctx, kind, c); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
	}
	return report, nil
}

// dashboardReport is the result of one kind of store.
type dashboardReport struct {
	Pages   map[string]quantiles `json:"pages_ms"`
	Slowest string               `json:"slowest"`
	Viewers []float64            `json:"cores_for_viewers"` // of each round
}

func (b *bench) measurePages(ctx context.Context, kind string, c configured) (*dashboardReport, error) {
	gateway, err := b.startConfigured(ctx, c)
	if err != nil {
		return nil, err
	}
	defer gateway.stop()
	fileID, err := uploadInput(ctx, gateway.addr, dashboardLines, 200)
	if err != nil {
		return nil, err
	}
	created, err := createBatch(ctx, gateway.addr, fileID)
	if err != nil {
		return nil, err
	}
	if _, err := waitBatch(ctx, gateway.addr, created.ID, nil); err != nil {
		return nil, err
	}
	out := &dashboardReport{Pages: make(map[string]quantiles)}
	batchPage := "/batches/" + created.ID
	deep := store.CursorAt(50_000) // in the middle of them
	worst := 0.0
	for _, path := range []string{
		"/", "/throughput", "/throughput?span=7d", "/throughput?span=30d", "/throughput?span=30d&model=model-1",
		"/batches", "/batches?state=active", "/batches?state=paused", "/batches?state=cancelled&model=model-1", "/batches?q=needle", "/batches?q=nightly-77", "/batches?from=2026-01-01&to=2026-01-31",
		"/batches?state=completed&after=" + deep, batchPage, batchPage + "/lines?after=4000", batchPage + "/lines?state=failed", batchPage + "/lines/2500",
		"/new?file=" + fileID, "/files", "/upstreams", "/doctor",
	} {
		var times []time.Duration
		for i := range dashboardAsks + 3 {
			took, _, err := page(ctx, gateway.addr, path)
			if err != nil {
				return nil, err
			}
			if i >= 3 { // after caches are filled
				times = append(times, took)
			}
		}
		q := quantilesOf(times)
		out.Pages[path] = q
		if q.Median > worst {
			worst, out.Slowest = q.Median, path
		}
	}
	fmt.Printf("dashboard, %s: the slowest of %d pages is %s, median %.1f ms, p99 %.1f ms; goal %d ms\n", kind, len(out.Pages), out.Slowest, worst, out.Pages[out.Slowest].P99, dashboardGoal.Milliseconds())

	// Open pages, while a batch runs that takes longer than they are watched.
	if out.Viewers, err = watchPages(ctx, gateway, fileID); err != nil {
		return nil, err
	}
	fmt.Printf("dashboard, %s: %d open pages cost %.3f of a core (median of %d), goal %.2f\n", kind, dashboardViewers, median(out.Viewers), len(out.Viewers), dashboardCPUGoal)
	return out, nil
}

// page requests a page and returns the duration of the response.
func page(ctx context.Context, addr, path string) (time.Duration, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/dashboard"+path, nil)
	if err != nil {
		return 0, "", fmt.Errorf("making request: %w", err)
	}
	begin := time.Now()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", fmt.Errorf("asking for %s: %w", path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	took := time.Since(begin)
	if err != nil || answer.StatusCode != http.StatusOK {
		return 0, "", fmt.Errorf("asking for %s: %s, %w", path, answer.Status, err)
	}
	return took, string(text), nil
}

// watchPages measures the processor time of the gateway alternately with and without open
// pages, while a batch runs, and returns the cost of the pages in cores.
func watchPages(ctx context.Context, gateway *process, fileID string) ([]float64, error) {
	var cost []float64
	for range dashboardRounds {
		created, err := createBatch(ctx, gateway.addr, fileID)
		if err != nil {
			return nil, err
		}
		var used [2]time.Duration
		for i, viewers := range []int{0, dashboardViewers} {
			if used[i], err = watched(ctx, gateway, "/batches/"+created.ID, viewers); err != nil {
				return nil, err
			}
		}
		cost = append(cost, (used[1]-used[0]).Seconds()/dashboardWatch.Seconds())
		if err := call(ctx, "POST", "http://"+gateway.addr+"/v1/batches/"+created.ID+"/cancel", "", nil, &created); err != nil {
			return nil, err
		}
	}
	return cost, nil
}

// watched is the gateway's processor time while pages are open.
func watched(ctx context.Context, gateway *process, batchPage string, viewers int) (time.Duration, error) {
	watching, stop := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer stop()
	paths := []string{"/", "/", "/", "/", "/batches", "/batches", batchPage, batchPage + "/lines", "/upstreams", "/throughput"}
	failed := make(chan error, viewers)
	for i := range viewers {
		open.Go(func() { failed <- follow(watching, gateway.addr, paths[i%len(paths)]) })
	}
	if err := pause(ctx, 3*time.Second); err != nil { // let caches fill
		return 0, err
	}
	before, err := gateway.cpu()
	if err != nil {
		return 0, err
	}
	select {
	case err := <-failed:
		return 0, err
	case <-time.After(dashboardWatch):
	}
	after, err := gateway.cpu()
	return after - before, err
}

// follow reads the events of a page until ctx ends.
func follow(ctx context.Context, addr, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/dashboard/events"+path, nil)
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("following %s: %w", path, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("following %s: %s", path, answer.Status)
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return fmt.Errorf("following %s: it ended: %w", path, err)
}
