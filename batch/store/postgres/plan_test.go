package postgres

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// aged fills a database like long use: 20 running batches with 100,000 slices, half
// of them finished, after thousands of other batches, with a thousand tenants. The
// time is 1000000.
const aged = `
INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at, expires_at, deleted_at, collected_at)
	SELECT 'file-' || i, 'tenant-' || i % 1000, 'key-' || i, '', 'batch', 1, '', 0, CASE WHEN i % 10 = 0 THEN 2000000 END,
		CASE WHEN i % 7 = 0 THEN i END, CASE WHEN i % 14 = 0 THEN i END FROM generate_series(1, 20000) i;
INSERT INTO uploads (id, tenant, filename, purpose, mime_type, bytes, file_ttl, status, created_at, expires_at, ended_at)
	SELECT 'upload_' || i, 'tenant-' || i % 1000, '', 'batch', '', 1, 0, CASE WHEN i % 10 = 0 THEN 'pending' ELSE 'completed' END, 0, i,
		CASE WHEN i % 10 > 0 THEN i END FROM generate_series(1, 10000) i;
INSERT INTO upload_parts (id, upload, content, bytes, created_at, gone_at, collected_at)
	SELECT 'part_' || i, 1 + i % 10000, 'part-key-' || i, 1, 0, CASE WHEN i % 10 > 0 THEN i END, CASE WHEN i % 10 > 1 THEN i END
	FROM generate_series(1, 20000) i;
INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, priority, output_ttl, idempotency_key, request_hash, status,
		total, created_at, expires_at, work, deleted_at)
	SELECT 'batch_' || i, 'tenant-' || i % 1000, '', 'file-' || i, i, '24h', 0, 0, CASE WHEN i % 2 = 0 THEN 'key-' || i ELSE '' END, '',
		CASE WHEN i <= 20 THEN 'in_progress' WHEN i <= 40 THEN 'validating' ELSE 'completed' END,
		300000, 0, 1000000 + i, CASE WHEN i <= 20 OR i BETWEEN 41 AND 50 THEN 1 ELSE 0 END, CASE WHEN i % 50 = 0 THEN i END
	FROM generate_series(1, 20000) i;
INSERT INTO slices (batch, number, start, length, first_line, lines, done, finished)
	SELECT b, n, n * 32000, 32000, n * 64, 64, CASE WHEN n < 2500 THEN -1 ELSE 0 END, n < 2500 FROM generate_series(1, 20) b, generate_series(0, 4999) n;
INSERT INTO segments (batch, slice, number, data) SELECT b, n, 0, '\x00' FROM generate_series(1, 20) b, generate_series(0, 2499) n;
INSERT INTO usage_15m SELECT 'tenant-' || t, i * 900000000::bigint, 'batch', 'model', '', 1, 0, 0, 0, 0, 0, 0
	FROM generate_series(1, 20) t, generate_series(1, 1000) i;
INSERT INTO key_usage SELECT 'tenant-' || t, i * 86400000000::bigint, 'key', 'batch', 'model', 1, 0, 0, 0, 0, 0, 0
	FROM generate_series(1, 20) t, generate_series(1, 1000) i;
INSERT INTO model_minutes SELECT i * 60000000::bigint, 'model-' || m, 1, 0, 0, 0 FROM generate_series(1, 1000) i, generate_series(1, 20) m;
INSERT INTO batch_models SELECT i, 'model', 1, 0 FROM generate_series(1, 40) i;
INSERT INTO gateways (id, host, place, since, until, loads) SELECT 'gateway-' || i, '', '', 0, i, '{}' FROM generate_series(1, 200) i;
INSERT INTO webhook_deliveries (batch_id, tenant, event, endpoint, url, state, created_at, next_at, ended_at)
	SELECT 'batch_' || i, 'tenant-' || i % 1000, 'completed', 'endpoint-' || i % 3, '', CASE WHEN i % 50 = 0 THEN 'pending' ELSE 'delivered' END, i, i,
		CASE WHEN i % 50 > 0 THEN i END FROM generate_series(1, 20000) i;
ANALYZE`

var (
	pausedPage  = finders[store.Filter{Paused: true}].page
	claimUnread = claimBatch[batch.Validate]
	claimEnding = claimBatch[batch.Finalize]
)

// indexes are the indexes that statements must use, in addition to some index of each
// table.
var indexes = map[string][]string{
	activeBatches:      {"batches_turns"},
	waitingBatches:     {"batches_validating"},
	flowSince:          {"model_minutes_pkey"},
	pruneFlow:          {"model_minutes_pkey"},
	createdFrom:        {"batches_created"},
	createdBefore:      {"batches_created"},
	largestFiles:       {"files_size"},
	pruneUsage:         {"usage_15m_age"},
	pruneKeyUsage:      {"key_usage_day"},
	tenantUsage:        {"key_usage_pkey"},
	allUsage:           {"key_usage_day"},
	claimableSlices:    {"slices_unfinished"},
	claimSlices:        {"slices_pkey"},
	renewSlices:        {"slices_pkey"},
	releaseSlices:      {"batches_id_key", "slices_pkey"},
	lockBatches:        {"batches_id_key"},
	readSlices:         {"batches_id_key", "slices_pkey"},
	lockSlices:         {"batches_id_key", "slices_pkey"},
	updateSlices:       {"slices_pkey"},
	updateCounts:       {"batches_pkey"},
	claimUnread:        {"batches_validating", "batches_ending"},
	claimEnding:        {"batches_validating", "batches_ending"},
	selectSlices:       {"slices_pkey"},
	selectResults:      {"segments_pkey"},
	batchesPage:        {"batches_page"},
	pausedPage:         {"batches_paused"},
	batchesPageOfAll:   {"batches_all_page"},
	filesPagesOfAll[0]: {"files_all_page"},
	filesPagesOfAll[1]: {"files_all_page"},
	filesPagesOfAll[2]: {"files_all_purpose"},
	filesPagesOfAll[3]: {"files_all_purpose"},
	createdFromOfAll:   {"batches_all_created"},
	createdBeforeOfAll: {"batches_all_created"},
	filesPages[0]:      {"files_page"},
	filesPages[1]:      {"files_page"},
	filesPages[2]:      {"files_page_purpose"},
	filesPages[3]:      {"files_page_purpose"},
	overdueBatches:     {"batches_deadline"},
	overdueUploads:     {"uploads_pending"},
	finishedWork:       {"batches_work"},
	dropSegments:       {"segments_pkey"},
	dropSlices:         {"slices_pkey"},
	garbageFiles:       {"files_garbage", "batches_input_unfinished"},
	deleteExpired:      {"files_pkey", "batches_input_unfinished"},
	deletedFiles:       {"files_pkey", "batches_input_unfinished"},
	garbageParts:       {"upload_parts_garbage", "files_content_key"},
	forgetFiles:        {"files_forgettable"},
	forgetBatches:      {"batches_forgettable"},
	overUploads:        {"uploads_forgettable"},
	selectParts:        {"upload_parts_upload"},
	countParts:         {"upload_parts_upload"},
	pendingUploads:     {"uploads_pending"},
	tenantStorage:      {"uploads_pending"},
	storageByTenant:    {"uploads_pending"},
	selectRepeated:     {"batches_idempotency"},
	selectOtherUser:    {"batches_input"},
	usageSince:         {"usage_15m_pkey"},
	claimDeliveries:    {"webhook_deliveries_due"},
	pruneDeliveries:    {"webhook_deliveries_ended"},
}

// ordered are statements that must read their rows in order from an index, because
// their number is not limited in advance.
var ordered = []string{
	activeBatches, waitingBatches, createdFrom, createdBefore, largestFiles, claimableSlices, claimUnread, claimEnding, selectSlices, selectResults, batchesPage, pausedPage, filesPages[0], filesPages[1], filesPages[2], filesPages[3],
	batchesPageOfAll, filesPagesOfAll[0], filesPagesOfAll[1], filesPagesOfAll[2], filesPagesOfAll[3], createdFromOfAll, createdBeforeOfAll,
}

func init() {
	for filter, index := range map[store.Filter]string{
		{}:                          "page",
		{Status: true}:              "status",
		{Model: true}:               "model",
		{Status: true, Model: true}: "status_model",
		{Paused: true}:              "paused",
		{Active: true}:              "status",
		{Active: true, Model: true}: "status_model",
	} {
		for prefix, finders := range map[string]map[store.Filter]finder{"batches_": finders, "batches_all_": findersOfAll} {
			for _, filter.OldestFirst = range []bool{false, true} {
				f, names := finders[filter], []string{prefix + index}
				switch {
				case filter.Paused:
					names = []string{"batches_(all_)?paused"} // sorts paused ones if they are few
				case prefix == "batches_all_" && filter.Model:
					names = []string{"batches_all_model"}
				}
				indexes[f.page], indexes[f.floor] = names, names
				if sorts := filter.Active || filter.Paused || filter.Model && prefix == "batches_all_"; !sorts { // at most a page of each state
					ordered = append(ordered, f.page, f.floor)
				}
			}
		}
	}
}

// background are statements of background tasks, which are limited only by their
// LIMIT.
var background = []string{
	activeBatches, claimableSlices, claimUnread, claimEnding, overdueBatches, overdueUploads, finishedWork, dropSegments, dropSlices,
	garbageFiles, garbageParts, forgetFiles, forgetBatches, overUploads, forgetGateways, otherGateways, pruneUsage, pruneDays, pruneKeyUsage, pruneEvents, pruneMinutes, pruneFlow, waitingBatches, flowSince, batchModels,
	claimDeliveries, pruneTargets, giveUpDeliveries, pruneDeliveries,
}

var (
	tables    = regexp.MustCompile(`Seq Scan on (files|uploads|upload_parts|batches|slices|segments|usage_15m|key_usage|webhook_deliveries)\b`)
	parameter = regexp.MustCompile(`\$(\d+)`)
)

// TestPlans checks the generic plan of every statement of the driver: each must find
// its rows with an index, so that finished work does not slow it down.
func TestPlans(t *testing.T) {
	c := filled(t, aged)
	plans := make(map[string]string)
	for i, sql := range statements {
		plans[sql] = explain(t, c, i, sql)
		if tables.MatchString(plans[sql]) {
			t.Errorf("statement scans a table: %s\n\tplan:\n%s", sql, plans[sql])
		}
	}
	for sql, names := range indexes {
		for _, index := range names {
			if !regexp.MustCompile(`(on|using) ` + index + `\b`).MatchString(plans[sql]) {
				t.Errorf("statement does not use %s: %s\n\tplan:\n%s", index, sql, plans[sql])
			}
		}
	}
	for _, sql := range ordered {
		if plans[sql] == "" || strings.Contains(plans[sql], "Sort") {
			t.Errorf("statement sorts: %s\n\tplan:\n%s", sql, plans[sql])
		}
	}
	for _, sql := range background {
		if !strings.Contains(plans[sql], "Limit") {
			t.Errorf("statement is not bounded: %s\n\tplan:\n%s", sql, plans[sql])
		}
	}
}

// allDone fills a database in which almost all slices are finished, as the server
// may see it when it collects statistics.
const allDone = `
INSERT INTO files (id, tenant, content, filename, purpose, bytes, sha256, created_at)
	SELECT 'file-' || i, 'tenant', 'key-' || i, '', 'batch', 1, '', 0 FROM generate_series(1, 6) i;
INSERT INTO batches (id, tenant, endpoint, input_file_id, input, completion_window, priority, output_ttl, idempotency_key, request_hash, status,
		total, created_at, expires_at, work)
	SELECT 'batch_' || i, 'tenant', '', 'file-' || i, i, '24h', 0, 0, '', '', CASE WHEN i > 4 THEN 'in_progress' ELSE 'completed' END,
		50000, 0, 1000000 + i, 1 FROM generate_series(1, 6) i;
INSERT INTO slices (batch, number, start, length, first_line, lines, done, finished)
	SELECT b, n, n * 32000, 32000, n * 64, 64, 0, b < 5 OR n > 5 FROM generate_series(1, 6) b, generate_series(0, 781) n;
ANALYZE`

// partOfKey matches an index condition with only a part of the key of slices.
var partOfKey = regexp.MustCompile(`Index Cond: \(number = `)

// TestPlansAfterIdleness checks plans that were made with statistics of an idle
// database: they stay in use for a while after work arrives.
func TestPlansAfterIdleness(t *testing.T) {
	c := filled(t, allDone)
	for i, sql := range statements {
		if plan := explain(t, c, i, sql); partOfKey.MatchString(plan) {
			t.Errorf("statement scans unfinished slices: %s\n\tplan:\n%s", sql, plan)
		}
	}
}

// filled returns a connection to a database with the rows, which uses generic plans.
func filled(t *testing.T, rows string) *pgx.Conn {
	t.Helper()
	url := server.NewDatabase(t)
	opened(t, url)
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, sql := range []string{rows, `SET plan_cache_mode = force_generic_plan`} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// explain returns the generic plan of a statement.
func explain(t *testing.T, c *pgx.Conn, i int, sql string) string {
	t.Helper()
	name := fmt.Sprintf("explained_%d", i)
	if _, err := c.Exec(t.Context(), `PREPARE `+name+` AS `+sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	n := 0
	for _, p := range parameter.FindAllStringSubmatch(sql, -1) {
		k, err := strconv.Atoi(p[1])
		if err != nil {
			t.Fatal(err)
		}
		n = max(n, k)
	}
	execute := `EXPLAIN EXECUTE ` + name
	if n > 0 {
		execute += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", n), ", ") + ")"
	}
	rows, err := c.Query(t.Context(), execute)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(lines, "\n")
}
