package source

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

// List returns a page of batches.
func (b *batches) List(ctx context.Context, q dashboard.BatchQuery) (dashboard.BatchPage, error) {
	tenant := b.Tenant
	if q.AllTenants {
		tenant = batch.AllTenants
	}
	find := func(f batch.BatchFilter) (batch.BatchPage, error) { return b.analytics().FindBatches(ctx, tenant, f) }
	search := find
	if q.ByState && q.Status == "" && !q.Paused {
		search = func(f batch.BatchFilter) (batch.BatchPage, error) { return byState(f, find) }
	}
	found, err := search(q.BatchFilter)
	if err != nil {
		return dashboard.BatchPage{}, err
	}
	page := dashboard.BatchPage{More: found.More, After: found.After, Models: b.models()}
	page.Batches, err = b.describe(ctx, found.Batches)
	return page, err
}

// stateOrder is the order of batches by state: active ones come first.
var stateOrder = []batch.Status{
	batch.InProgress, batch.Validating, batch.Finalizing, batch.Cancelling, batch.Failed, batch.Expired, batch.Cancelled, batch.Completed,
}

// byState lists one state after the other, because a store has an index for each. A
// cursor consists of a state and the position in it: "failed.3f".
func byState(filter batch.BatchFilter, find func(batch.BatchFilter) (batch.BatchPage, error)) (page batch.BatchPage, err error) {
	first := 0
	if filter.After != "" {
		state, after, _ := strings.Cut(filter.After, ".")
		if first = slices.Index(stateOrder, batch.Status(state)); first < 0 {
			return page, fmt.Errorf("%w: %q", batch.ErrBadCursor, filter.After)
		}
		filter.After = after
	}
	active := filter.Active
	filter.Active = false
	left := filter.Limit
	for i, state := range stateOrder[first:] {
		if active && state.Terminal() {
			break
		}
		if i > 0 {
			filter.After = ""
		}
		filter.Status, filter.Limit = state, max(left, 1)
		found, err := find(filter)
		if err != nil {
			return batch.BatchPage{}, err
		}
		if left <= 0 && len(found.Batches) > 0 { // the page is full, and more batches follow
			page.More = true
			return page, nil
		}
		page.Batches = append(page.Batches, found.Batches...)
		left -= len(found.Batches)
		page.After = string(state) + "." + found.After
		if found.More {
			page.More = true
			return page, nil
		}
	}
	return page, nil
}
