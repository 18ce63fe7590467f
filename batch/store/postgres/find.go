package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
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

	createdFromOfAll   = declare(`SELECT seq FROM batches WHERE $1::text = '` + batch.AllTenants + `' AND seq > 0 AND created_at >= $2 ORDER BY created_at, seq LIMIT 1`)
	createdBeforeOfAll = declare(`SELECT seq FROM batches WHERE $1::text = '` + batch.AllTenants + `' AND seq > 0 AND created_at < $2 ORDER BY created_at DESC, seq DESC LIMIT 1`)
)

// finder is the statements of one combination of filters. All take the same
// parameters.
type finder struct{ page, floor, search string }

// finders find batches of a tenant, findersOfAll those of all tenants. Their index of models
// has the states before the rows.
var (
	finders      = makeFinders(selectOwn, nil)
	findersOfAll = makeFinders(selectOfAll, store.Statuses)
)

// selection is rows between $3 and $2, in order.
type selection struct{ where, order string }

// equal is a column and what it equals, in SQL.
type equal struct{ column, value string }

// selector selects the rows that have values in columns.
type selector func(oldest bool, values ...equal) selection

func selectOwn(oldest bool, values ...equal) selection {
	var where strings.Builder
	where.WriteString(` WHERE tenant = $1 AND seq < $2 AND seq >= $3 AND created_at >= $4 AND created_at < $5 AND deleted_at IS NULL`)
	for _, v := range values {
		where.WriteString(` AND ` + v.column + ` = ` + v.value)
	}
	return selection{where.String(), store.Orders[oldest]}
}

// selectOfAll compares and orders by all columns of an index. So a plan with another one would
// have to sort all rows, while a plan by seq alone, which compares the columns, could look as
// good to the planner, which does not know the parameters. For the same reason the index of
// times is not used.
func selectOfAll(oldest bool, values ...equal) selection {
	var columns, wantedValues, orders strings.Builder
	direction := map[bool]string{false: ` DESC, `, true: `, `}[oldest]
	for _, v := range values {
		columns.WriteString(v.column + `, `)
		wantedValues.WriteString(v.value + `, `)
		orders.WriteString(v.column + direction)
	}
	key, wanted, order := columns.String(), wantedValues.String(), orders.String()
	return selection{
		where: ` WHERE $1::text = '` + batch.AllTenants + `' AND seq > 0 AND (` + key + `seq) < (` + wanted + `$2) AND (` + key + `seq) >= (` + wanted + `$3)
			AND created_at + 0 >= $4 AND created_at + 0 < $5 AND deleted_at IS NULL`,
		order: strings.Replace(store.Orders[oldest], `seq`, order+`seq`, 1),
	}
}

// and returns the selection with another condition.
func (s selection) and(condition string) selection { return selection{s.where + condition, s.order} }

// inStates returns a selection for each state, because an index is ordered within one state.
func (s selector) inStates(oldest bool, states []batch.Status, values ...equal) (all []selection) {
	for _, status := range states {
		all = append(all, s(oldest, append(slices.Clone(values), equal{`status`, `'` + string(status) + `'`})...))
	}
	return all
}

// makeFinders returns the finders of rows. modelStates are the states in which those of a model
// are searched, nil for all together.
func makeFinders(rows selector, modelStates []batch.Status) map[store.Filter]finder {
	all := make(map[store.Filter]finder)
	model, status := equal{`model`, `$7`}, equal{`status`, `$6`}
	const noStatus, noModel = ` AND $6::text = ''`, ` AND $7::text = ''`
	for _, oldest := range []bool{false, true} {
		ofModel := rows.inStates(oldest, modelStates, model)
		if modelStates == nil {
			ofModel = []selection{rows(oldest, model)}
		}
		paused := rows(oldest).and(` AND ` + store.Paused)
		for filter, f := range map[store.Filter]finder{
			{}:                          find(oldest, noStatus+noModel, rows(oldest)),
			{Status: true}:              find(oldest, noModel, rows(oldest, status)),
			{Model: true}:               find(oldest, noStatus, ofModel...),
			{Status: true, Model: true}: find(oldest, ``, rows(oldest, model, status)),
			{Paused: true}:              find(oldest, noStatus+noModel, paused),
			{Paused: true, Model: true}: find(oldest, noStatus, paused.and(` AND model = $7`)),
			{Active: true}:              find(oldest, noStatus+noModel, rows.inStates(oldest, store.ActiveStatuses)...),
			{Active: true, Model: true}: find(oldest, noStatus, rows.inStates(oldest, store.ActiveStatuses, model)...),
		} {
			filter.OldestFirst = oldest
			all[filter] = f
		}
	}
	return all
}

// find returns the finder of the rows of several selections that match a filter.
func find(oldest bool, filter string, from ...selection) finder {
	rows := func(columns, text string) string {
		arms := make([]string, len(from))
		for i, s := range from {
			arms[i] = `SELECT ` + columns + ` FROM batches` + s.where + filter + text + s.order + findLimit
		}
		if len(arms) == 1 {
			return arms[0]
		}
		return `SELECT ` + columns + ` FROM ((` + strings.Join(arms, `) UNION ALL (`) + `)) b` + store.Orders[oldest] + findLimit
	}
	return finder{
		page:   declare(rows(store.BatchColumns+`, seq`, ``)),
		floor:  declare(`SELECT count(*), coalesce(` + store.Lasts[oldest] + `, 0) FROM (` + rows(`seq`, ``) + `) b`),
		search: declare(rows(store.BatchColumns+`, seq`, findText)),
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
// store.OrderSlack. Each row's time is compared as well.
func (t *tx) find(ctx context.Context, tenant string, q batch.BatchFilter, from, below int64, plain, inJSON string) (page batch.BatchPage, err error) {
	earliest, latest := int64(0), store.Micros(store.EverAfter)
	f, next, previous := finders[store.FilterOf(q)], createdFrom, createdBefore
	if tenant == batch.AllTenants {
		f, next, previous = findersOfAll[store.FilterOf(q)], createdFromOfAll, createdBeforeOfAll
	}
	if !q.From.IsZero() {
		earliest = store.Micros(q.From)
		last, err := one(ctx, t, store.Value[int64], previous, tenant, store.Micros(q.From.Add(-store.OrderSlack)))
		if err != nil && !errors.Is(err, batch.ErrNotFound) {
			return page, err
		}
		from = max(from, last)
	}
	if !q.To.IsZero() {
		latest = store.Micros(q.To)
		switch first, err := one(ctx, t, store.Value[int64], next, tenant, store.Micros(q.To.Add(store.OrderSlack))); {
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
	args = append(args, limit+1)
	if bounded {
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
