package sqlite

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// groupedUsage selects sums of key_usage: of the rows that match, by the columns that are
// wanted.
const groupedUsage = `SELECT iif(?6, day, 0) AS g1, iif(?7, tenant, '') AS g2, iif(?8, key_id, '') AS g3, iif(?9, class, '') AS g4, iif(?10, model, '') AS g5,
		sum(requests >> 32), sum(requests & 4294967295), sum(failures >> 32), sum(failures & 4294967295), sum(unpriced >> 32), sum(unpriced & 4294967295),
		sum(estimated >> 32), sum(estimated & 4294967295),
		sum(input_tokens >> 32), sum(input_tokens & 4294967295), sum(cached_tokens >> 32), sum(cached_tokens & 4294967295),
		sum(output_tokens >> 32), sum(output_tokens & 4294967295), sum(cost >> 32), sum(cost & 4294967295)
	FROM key_usage WHERE day >= ?1 AND day < ?2 AND (?3 = '' OR key_id = ?3) AND (?4 = '' OR model = ?4) AND (?5 = '' OR class = ?5)`

const usageOrder = ` GROUP BY g1, g2, g3, g4, g5 ORDER BY g1 DESC, g2, g3, g5, g4 LIMIT ?11`

var (
	selectKeyUsage = reads(`SELECT ` + store.KeyUsageColumns + ` FROM key_usage WHERE tenant = ? AND day = ? AND key_id = ? AND class = ? AND model = ?`)
	putKeyUsage    = writes(`INSERT OR REPLACE INTO key_usage (day, ` + store.KeyUsageColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	tenantUsage    = reads(groupedUsage + ` AND tenant = ?12` + usageOrder)
	allUsage       = reads(groupedUsage + usageOrder)
	pruneKeyUsage  = writes(`DELETE FROM key_usage WHERE (tenant, day, key_id, class, model) IN (SELECT tenant, day, key_id, class, model FROM key_usage INDEXED BY key_usage_day WHERE day < ? LIMIT ?)`)
)

// addKeyUsage adds to the day of a time.
func (t *tx) addKeyUsage(ctx context.Context, at time.Time, records []batch.UsageRecord) error {
	day := store.DayOf(at)
	for _, r := range store.KeyRecords(records) {
		sum, err := t.summed(ctx, r, selectKeyUsage, store.ScanKeyUsage, r.Tenant, day, r.KeyID, r.Class, r.Model)
		if err != nil {
			return err
		}
		args := []any{day, sum.Tenant, sum.KeyID, sum.Class, sum.Model}
		for _, n := range store.KeyUsageCounts(sum) {
			args = append(args, n)
		}
		if _, err := t.exec(ctx, putKeyUsage, args...); err != nil {
			return err
		}
	}
	return nil
}

// KeyUsage sums the usage of keys.
func (s *Store) KeyUsage(ctx context.Context, tenant string, q batch.UsageQuery) (report batch.UsageReport, err error) {
	err = s.read(ctx, "summing usage of keys", func(t *tx) error {
		limit := store.UsageLimit(q)
		rows, err := t.keyUsage(ctx, tenant, q, limit+1)
		if err != nil {
			return err
		}
		q.By = batch.UsageGroup{}
		total, err := t.keyUsage(ctx, tenant, q, 1)
		report = store.UsageReportOf(rows, total, limit)
		return err
	})
	return report, err
}

func (t *tx) keyUsage(ctx context.Context, tenant string, q batch.UsageQuery, limit int) ([]batch.UsageRow, error) {
	from, to := store.UsageDays(q)
	statement, args := allUsage, []any{from, to, q.KeyID, q.Model, q.Class, q.By.Day, q.By.Tenant, q.By.Key, q.By.Class, q.By.Model, limit}
	if tenant != batch.AllTenants {
		statement, args = tenantUsage, append(args, tenant)
	}
	return all(ctx, t, statement, store.ScanUsageHalves, args...)
}
