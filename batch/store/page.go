package store

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// ForgetAfter is the minimum time for which the row of a deleted object is kept, so
// that a client can continue a listing after it.
const ForgetAfter = time.Hour

// NewestFirst is the position before the first row in a listing from the newest row
// to the oldest.
const NewestFirst int64 = math.MaxInt64

// FilePages is the number of statements that list files: newest first or
// ascending, with or without a purpose.
const FilePages = 4

// FilesPage returns the index of the statement for q, and the position before its
// first file if q.After is empty.
func FilesPage(q batch.FileQuery) (page int, after int64) {
	after = NewestFirst
	if q.Ascending {
		page, after = 1, 0
	}
	if q.Purpose != "" {
		page += 2
	}
	return page, after
}

// Cursor returns batch.ErrBadCursor if no row has the id.
func Cursor(place int64, err error, id string) (int64, error) {
	if errors.Is(err, batch.ErrNotFound) {
		return 0, fmt.Errorf("%w: %q", batch.ErrBadCursor, id)
	}
	return place, err
}

// LimitOf returns limit, or 0 if it is negative, which SQLite treats as "all" and
// PostgreSQL refuses.
func LimitOf(limit int) int { return max(limit, 0) }

// Cut returns a page of up to limit items, and whether items has more.
func Cut[T any](items []T, limit int) (page []T, more bool) {
	if limit = LimitOf(limit); len(items) > limit {
		return items[:limit], true
	}
	return items, false
}
