package source

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// TestByState reads lists page by page: every batch is there once, in the order
// of states, however large a page is.
func TestByState(t *testing.T) {
	const each = 5
	reads := 0
	find := func(f batch.BatchFilter) (page batch.BatchPage, err error) {
		reads++
		if f.Active || f.Status == "" {
			t.Errorf("asks for %+v, want one state at a time", f)
		}
		if f.Status == batch.Cancelled {
			return page, nil // none
		}
		begin := 0
		if f.After != "" {
			if begin, err = strconv.Atoi(f.After); err != nil {
				return page, batch.ErrBadCursor
			}
		}
		for i := begin; i < each; i++ {
			if len(page.Batches) == f.Limit {
				page.More = true
				break
			}
			page.Batches = append(page.Batches, batch.Batch{ID: string(f.Status) + strconv.Itoa(i), Status: f.Status})
			page.After = strconv.Itoa(i + 1)
		}
		return page, nil
	}
	for _, active := range []bool{false, true} {
		var want []string
		for _, s := range stateOrder {
			if s == batch.Cancelled || active && s.Terminal() {
				continue
			}
			for i := range each {
				want = append(want, string(s)+strconv.Itoa(i))
			}
		}
		for limit := 1; limit <= len(want)+1; limit++ {
			var got []string
			filter := batch.BatchFilter{Active: active, Limit: limit}
			for more := true; more; {
				page, err := byState(filter, find)
				if err != nil {
					t.Fatal(err)
				}
				if len(page.Batches) > limit || len(page.Batches) == 0 && page.More {
					t.Fatalf("%d batches on a page of %d, more: %v", len(page.Batches), limit, page.More)
				}
				for _, b := range page.Batches {
					got = append(got, b.ID)
				}
				filter.After, more = page.After, page.More
			}
			if !slices.Equal(got, want) {
				t.Errorf("active %v, %d a page: %q, want %q", active, limit, got, want)
			}
		}
	}
	for _, cursor := range []string{"nonsense", "nonsense.3", "failed.nonsense"} {
		if _, err := byState(batch.BatchFilter{After: cursor, Limit: 1}, find); !errors.Is(err, batch.ErrBadCursor) {
			t.Errorf("after %q: %v, want ErrBadCursor", cursor, err)
		}
	}
}
