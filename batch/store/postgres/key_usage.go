package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// groupedUsage selects sums of key_usage: of the rows that match, by the columns that are
// wanted. Sums are numeric, so that they do not overflow.
const groupedUsage = `SELECT CASE WHEN $6::boolean THEN day ELSE 0 END AS g1, CASE WHEN $7::boolean THEN tenant ELSE '' END COLLATE "C" AS g2,
		CASE WHEN $8::boolean THEN key_id ELSE '' END COLLATE "C" AS g3, CASE WHEN $9::boolean THEN class ELSE '' END COLLATE "C" AS g4,
		CASE WHEN $10::boolean THEN model ELSE '' END COLLATE "C" AS g5,
		` + plus + `sum(requests)))::bigint, ` + plus + `sum(failures)))::bigint, ` + plus + `sum(unpriced)))::bigint, ` + plus + `sum(estimated)))::bigint, ` + plus + `sum(input_tokens)))::bigint,
		` + plus + `sum(cached_tokens)))::bigint, ` + plus + `sum(output_tokens)))::bigint, ` + plus + `sum(cost)))::bigint
	FROM key_usage WHERE day >= $1 AND day < $2 AND ($3::text = '' OR key_id = $3) AND ($4::text = '' OR model = $4) AND ($5::text = '' OR class = $5)`

const usageOrder = ` GROUP BY g1, g2, g3, g4, g5 ORDER BY g1 DESC, g2, g3, g5, g4 LIMIT $11`

var (
	addKeyUsage = declare(`INSERT INTO key_usage AS u (day, ` + store.KeyUsageColumns + `)
		SELECT $1::bigint, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[],
			$6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
		ON CONFLICT (tenant, day, key_id, class, model) DO UPDATE SET
			requests = ` + plus + `u.requests::numeric + excluded.requests))::bigint,
			failures = ` + plus + `u.failures::numeric + excluded.failures))::bigint,
			unpriced = ` + plus + `u.unpriced::numeric + excluded.unpriced))::bigint,
			estimated = ` + plus + `u.estimated::numeric + excluded.estimated))::bigint,
			input_tokens = ` + plus + `u.input_tokens::numeric + excluded.input_tokens))::bigint,
			cached_tokens = ` + plus + `u.cached_tokens::numeric + excluded.cached_tokens))::bigint,
			output_tokens = ` + plus + `u.output_tokens::numeric + excluded.output_tokens))::bigint,
			cost = ` + plus + `u.cost::numeric + excluded.cost))::bigint`)
	tenantUsage   = declare(groupedUsage + ` AND tenant = $12` + usageOrder)
	allUsage      = declare(groupedUsage + usageOrder)
	pruneKeyUsage = declare(`DELETE FROM key_usage WHERE ctid = ANY (ARRAY(SELECT ctid FROM key_usage WHERE day < $1 ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED))`)
)

// addKeyUsage adds to the present day as the transaction ends, after addUsage and in the
// same way.
func (t *tx) addKeyUsage(records []batch.UsageRecord) {
	var names [4][]string
	var counts [8][]int64
	for _, r := range store.KeyRecords(records) { // in order
		for i, v := range []string{r.Tenant, r.KeyID, r.Class, r.Model} {
			names[i] = append(names[i], v)
		}
		for i, v := range store.KeyUsageCounts(r) {
			counts[i] = append(counts[i], v)
		}
	}
	args := make([]any, 0, 1+len(names)+len(counts))
	args = append(args, store.DayOf(t.now))
	for i := range names {
		args = append(args, names[i])
	}
	for i := range counts {
		args = append(args, counts[i])
	}
	t.later(addKeyUsage, args...)
}

// KeyUsage sums the usage of keys.
func (s *Store) KeyUsage(ctx context.Context, tenant string, q batch.UsageQuery) (report batch.UsageReport, err error) {
	err = s.report(ctx, "summing usage of keys", func(t *tx) error {
		limit := store.UsageLimit(q)
		rows, err := t.keyUsage(ctx, tenant, q, limit+1)
		if err != nil {
			return err
		}
		sum := q
		sum.By = batch.UsageGroup{}
		total, err := t.keyUsage(ctx, tenant, sum, 1)
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
	return all(ctx, t, store.ScanUsageRow, statement, args...)
}
