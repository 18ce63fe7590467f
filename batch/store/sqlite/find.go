package sqlite

import (
	"context"
	"errors"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// finder is the statements of one combination of filters. All take the same
// parameters.
type finder struct{ page, floor, search *statement }

const (
	findBase = `seq < ?2 AND seq >= ?3 AND created_at >= ?4 AND created_at < ?5 AND deleted_at IS NULL`
	findText = ` AND (instr(lower(id), ?9) > 0 OR instr(lower(coalesce(metadata, '')), ?10) > 0
			OR EXISTS (SELECT 1 FROM files f WHERE f.seq = batches.input AND instr(lower(f.filename), ?9) > 0))`
	findLimit = ` LIMIT ?8`
)

// finders find batches of a tenant, findersOfAll those of all tenants.
var (
	finders      = makeFinders("batches_", ` WHERE tenant = ?1 AND `+findBase)
	findersOfAll = makeFinders("batches_all_", ` WHERE ?1 = '`+batch.AllTenants+`' AND seq > 0 AND `+findBase)
)

func makeFinders(indexes, where string) map[store.Filter]finder {
	from := func(index, filter string) string {
		return ` FROM batches INDEXED BY ` + indexes + index + where + filter
	}
	all := make(map[store.Filter]finder)
	for _, oldest := range []bool{false, true} {
		for filter, f := range map[store.Filter]finder{
			{}:                          findBy(oldest, from("page", ` AND ?6 = '' AND ?7 = ''`)),
			{Status: true}:              findBy(oldest, from("status", ` AND status = ?6 AND ?7 = ''`)),
			{Model: true}:               findBy(oldest, from("model", ` AND ?6 = '' AND model = ?7`)),
			{Status: true, Model: true}: findBy(oldest, from("status_model", ` AND status = ?6 AND model = ?7`)),
			{Paused: true}:              findBy(oldest, from("paused", ` AND `+store.Paused+` AND ?6 = '' AND ?7 = ''`)),
			{Paused: true, Model: true}: findBy(oldest, from("paused", ` AND `+store.Paused+` AND ?6 = '' AND model = ?7`)),
			{Active: true}:              findActive(oldest, from("status", ` AND ?6 = '' AND ?7 = ''`)),
			{Active: true, Model: true}: findActive(oldest, from("status_model", ` AND ?6 = '' AND model = ?7`)),
		} {
			filter.OldestFirst = oldest
			all[filter] = f
		}
	}
	return all
}

func findBy(oldest bool, base string) finder {
	order := store.Orders[oldest] + findLimit
	return finder{
		page:   reads(`SELECT ` + store.BatchColumns + `, seq` + base + order),
		floor:  reads(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (SELECT seq` + base + order + `)`),
		search: reads(`SELECT ` + store.BatchColumns + `, seq` + base + findText + order),
	}
}

// findActive searches each active state separately, because the index is ordered
// within one state.
func findActive(oldest bool, base string) finder {
	order := store.Orders[oldest] + findLimit
	union := func(columns, text string) string {
		arms := make([]string, len(store.ActiveStatuses))
		for i, status := range store.ActiveStatuses {
			arms[i] = `SELECT * FROM (SELECT ` + columns + base + ` AND status = '` + string(status) + `'` + text + order + `)`
		}
		return `(` + strings.Join(arms, ` UNION ALL `) + `)`
	}
	return finder{
		page:   reads(`SELECT * FROM ` + union(store.BatchColumns+`, seq`, ``) + order),
		floor:  reads(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (SELECT seq FROM ` + union(`seq`, ``) + order + `)`),
		search: reads(`SELECT * FROM ` + union(store.BatchColumns+`, seq`, findText) + order),
	}
}

// The rows next to a time.
var (
	createdFrom   = reads(`SELECT seq FROM batches WHERE tenant = ? AND created_at >= ? ORDER BY created_at, seq LIMIT 1`)
	createdBefore = reads(`SELECT seq FROM batches WHERE tenant = ? AND created_at < ? ORDER BY created_at DESC, seq DESC LIMIT 1`)

	createdFromOfAll   = reads(`SELECT seq FROM batches WHERE ? = '` + batch.AllTenants + `' AND seq > 0 AND created_at >= ? ORDER BY created_at, seq LIMIT 1`)
	createdBeforeOfAll = reads(`SELECT seq FROM batches WHERE ? = '` + batch.AllTenants + `' AND seq > 0 AND created_at < ? ORDER BY created_at DESC, seq DESC LIMIT 1`)
)

// FindBatches lists batches.
func (s *Store) FindBatches(ctx context.Context, tenant string, q batch.BatchFilter) (page batch.BatchPage, err error) {
	from, below, err := store.Between(q)
	if err != nil {
		return page, err
	}
	plain, inJSON, err := store.SearchTerms(q.Text)
	if err != nil {
		return page, err
	}
	err = s.read(ctx, "finding batches", func(t *tx) error {
		page, err = t.find(ctx, tenant, q, from, below, plain, inJSON)
		return err
	})
	return page, err
}

// find searches the rows between those outside of the filter's times, with a distance of
// store.OrderSlack. Each row's time is compared as well.
func (t *tx) find(ctx context.Context, tenant string, q batch.BatchFilter, from, below int64, plain, inJSON string) (page batch.BatchPage, err error) {
	earliest, latest := int64(0), store.Micros(store.EverAfter)
	f, next, previous := finders[store.FilterOf(q)], createdFrom, createdBefore
	if tenant == batch.AllTenants {
		f, next, previous = findersOfAll[store.FilterOf(q)], createdFromOfAll, createdBeforeOfAll
	}
	if !q.From.IsZero() {
		earliest = store.Micros(q.From)
		last, err := one(ctx, t, previous, store.Value[int64], tenant, store.Micros(q.From.Add(-store.OrderSlack)))
		if err != nil && !errors.Is(err, batch.ErrNotFound) {
			return page, err
		}
		from = max(from, last)
	}
	if !q.To.IsZero() {
		latest = store.Micros(q.To)
		switch first, err := one(ctx, t, next, store.Value[int64], tenant, store.Micros(q.To.Add(store.OrderSlack))); {
		case err == nil:
			below = min(below, first)
		case !errors.Is(err, batch.ErrNotFound):
			return page, err
		}
	}
	limit, bounded := store.LimitOf(q.Limit), q.Text != ""
	args := []any{tenant, below, from, earliest, latest, string(q.Status), q.Model}
	statement, more := f.page, false
	if bounded {
		statement = f.search
		looked, err := one(ctx, t, f.floor, store.ScanFloor, append(args, store.SearchRows)...)
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
	args = append(args, limit+1)
	if bounded {
		args = append(args, plain, inJSON)
	}
	rows, err := all(ctx, t, statement, store.ScanFoundBatch, args...)
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
