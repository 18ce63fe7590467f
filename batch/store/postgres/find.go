package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	findBase = ` FROM batches WHERE tenant = $1 AND seq < $2 AND seq >= $3 AND created_at >= $4 AND created_at < $5 AND deleted_at IS NULL`
	// Only ASCII is converted to lower case, as in the other driver. The input's name
	// is a scalar sub-select: EXISTS could run as a hash of all files with the text,
	// which versions before 14 decide only when the statement runs.
	findText = ` AND (strpos(lower(id COLLATE "C"), $9) > 0 OR strpos(lower(coalesce(metadata, '') COLLATE "C"), $10) > 0
			OR (SELECT strpos(lower(f.filename COLLATE "C"), $9) FROM files f WHERE f.seq = batches.input) > 0)`
	findLimit = ` LIMIT $8`
)

// The rows next to a time.
var (
	createdFrom   = declare(`SELECT seq FROM batches WHERE tenant = $1 AND created_at >= $2 ORDER BY created_at, seq LIMIT 1`)
	createdBefore = declare(`SELECT seq FROM batches WHERE tenant = $1 AND created_at < $2 ORDER BY created_at DESC, seq DESC LIMIT 1`)
)

// finder is the statements of one combination of filters. All take the same
// parameters.
type finder struct{ page, floor, search string }

var finders = makeFinders()

func makeFinders() map[store.Filter]finder {
	all := make(map[store.Filter]finder)
	for _, oldest := range []bool{false, true} {
		for filter, f := range map[store.Filter]finder{
			{}:                          findBy(oldest, ` AND $6::text = '' AND $7::text = ''`),
			{Status: true}:              findBy(oldest, ` AND status = $6 AND $7::text = ''`),
			{Model: true}:               findBy(oldest, ` AND $6::text = '' AND model = $7`),
			{Status: true, Model: true}: findBy(oldest, ` AND status = $6 AND model = $7`),
			{Paused: true}:              findBy(oldest, ` AND `+store.Paused+` AND $6::text = '' AND $7::text = ''`),
			{Paused: true, Model: true}: findBy(oldest, ` AND `+store.Paused+` AND $6::text = '' AND model = $7`),
			{Active: true}:              findActive(oldest, ` AND $6::text = '' AND $7::text = ''`),
			{Active: true, Model: true}: findActive(oldest, ` AND $6::text = '' AND model = $7`),
		} {
			filter.OldestFirst = oldest
			all[filter] = f
		}
	}
	return all
}

// findersOfAll find batches of all tenants, by Active, Paused and OldestFirst.
var findersOfAll = makeFindersOfAll()

func makeFindersOfAll() map[store.Filter]finder {
	all := make(map[store.Filter]finder)
	for _, oldest := range []bool{false, true} {
		order := store.Orders[oldest] + findLimit
		rows := ` FROM batches WHERE $1::text IS NOT NULL AND seq < $2 AND seq >= $3`
		for filter, condition := range map[store.Filter]string{{}: ``, {Active: true}: ` AND ` + store.ActiveStatus, {Paused: true}: ` AND ` + store.Paused} {
			filter.OldestFirst = oldest
			base := rows + ` AND created_at >= $4 AND created_at < $5 AND deleted_at IS NULL AND ($6::text = '' OR status = $6) AND ($7::text = '' OR model = $7)` + condition
			all[filter] = finder{
				page:   declare(`SELECT ` + store.BatchColumns + `, seq` + base + order),
				floor:  declare(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (SELECT seq` + rows + ` AND $4::bigint <= $5::bigint AND $6::text IS NOT NULL AND $7::text IS NOT NULL` + order + `) b`),
				search: declare(`SELECT ` + store.BatchColumns + `, seq` + base + findText + order),
			}
		}
	}
	return all
}

func findBy(oldest bool, filter string) finder {
	order := store.Orders[oldest] + findLimit
	base := findBase + filter
	return finder{
		page:   declare(`SELECT ` + store.BatchColumns + `, seq` + base + order),
		floor:  declare(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (SELECT seq` + base + order + `) b`),
		search: declare(`SELECT ` + store.BatchColumns + `, seq` + base + findText + order),
	}
}

// findActive searches each active state separately, because the index is ordered
// within one state.
func findActive(oldest bool, filter string) finder {
	order := store.Orders[oldest] + findLimit
	union := func(columns, text string) string {
		arms := make([]string, len(store.ActiveStatuses))
		for i, status := range store.ActiveStatuses {
			arms[i] = `(SELECT ` + columns + findBase + filter + ` AND status = '` + string(status) + `'` + text + order + `)`
		}
		return `(` + strings.Join(arms, ` UNION ALL `) + `) b`
	}
	return finder{
		page:   declare(`SELECT * FROM ` + union(store.BatchColumns+`, seq`, ``) + order),
		floor:  declare(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (SELECT seq FROM ` + union(`seq`, ``) + order + `) b`),
		search: declare(`SELECT * FROM ` + union(store.BatchColumns+`, seq`, findText) + order),
	}
}

// FindBatches lists batches.
func (s *Store) FindBatches(ctx context.Context, tenant string, q batch.BatchFilter) (page batch.BatchPage, err error) {
	from, below, err := store.Between(q)
	if err != nil {
		return page, err
	}
	if unholdable(q.Text) || unholdable(q.Model) {
		return page, nil // no batch has it
	}
	plain, inJSON, err := store.SearchTerms(q.Text)
	if err != nil {
		return page, err
	}
	err = s.report(ctx, "finding batches", func(t *tx) error {
		page, err = t.find(ctx, tenant, q, from, below, plain, inJSON)
		return err
	})
	return page, err
}

// find searches the rows between those outside of the filter's times, with a distance of
// store.OrderSlack. Each row's time is compared as well. Of all tenants it searches the rows
// in order.
func (t *tx) find(ctx context.Context, tenant string, q batch.BatchFilter, from, below int64, plain, inJSON string) (page batch.BatchPage, err error) {
	earliest, latest := int64(0), store.Micros(store.EverAfter)
	ofAll := tenant == batch.AllTenants
	if !q.From.IsZero() {
		earliest = store.Micros(q.From)
	}
	if !q.From.IsZero() && !ofAll {
		last, err := one(ctx, t, store.Value[int64], createdBefore, tenant, store.Micros(q.From.Add(-store.OrderSlack)))
		if err != nil && !errors.Is(err, batch.ErrNotFound) {
			return page, err
		}
		from = max(from, last)
	}
	if !q.To.IsZero() {
		latest = store.Micros(q.To)
	}
	if !q.To.IsZero() && !ofAll {
		switch first, err := one(ctx, t, store.Value[int64], createdFrom, tenant, store.Micros(q.To.Add(store.OrderSlack))); {
		case err == nil:
			below = min(below, first)
		case !errors.Is(err, batch.ErrNotFound):
			return page, err
		}
	}
	f, limit, bounded := finders[store.FilterOf(q)], store.LimitOf(q.Limit), q.Text != ""
	if ofAll {
		f, bounded = findersOfAll[store.Filter{Active: q.Active, Paused: q.Paused, OldestFirst: q.OldestFirst}], store.Bounded(q)
	}
	args := []any{tenant, below, from, earliest, latest, string(q.Status), q.Model}
	statement, more := f.page, false
	if bounded {
		looked, err := one(ctx, t, store.ScanFloor, f.floor, append(args, store.SearchRows)...)
		if err != nil || looked.Rows == 0 {
			return page, err
		}
		page.After, more = store.CursorAt(looked.Row), looked.Rows == store.SearchRows
		if q.OldestFirst {
			args[1] = looked.Row + 1
		} else {
			args[2] = looked.Row
		}
	}
	if q.Text != "" {
		statement = f.search
	}
	args = append(args, limit+1)
	if q.Text != "" {
		args = append(args, plain, inJSON)
	}
	rows, err := all(ctx, t, store.ScanFoundBatch, statement, args...)
	if err != nil {
		return batch.BatchPage{}, err
	}
	rows, page.More = store.Cut(rows, limit)
	for _, r := range rows {
		page.Batches = append(page.Batches, r.Batch)
		if page.More || !bounded {
			page.After = store.CursorAt(r.Row)
		}
	}
	page.More = page.More || more
	return page, nil
}
