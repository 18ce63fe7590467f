package store

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// ForgetAfter is how long the row of what was deleted stays at least, so that a
// client can go on listing after it.
const ForgetAfter = time.Hour

// NewestFirst is the place before all others in a listing by age, the newest
// first.
const NewestFirst int64 = math.MaxInt64

// FilePages is how many statements list files: the newest first and ascending,
// of any purpose and of one.
const FilePages = 4

// FilesPage tells which of the statements that list files answers q, and the
// place before its first file when q.After names none.
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

// Cursor makes batch.ErrBadCursor of the id of nothing.
func Cursor(place int64, err error, id string) (int64, error) {
	if errors.Is(err, batch.ErrNotFound) {
		return 0, fmt.Errorf("%w: %q", batch.ErrBadCursor, id)
	}
	return place, err
}

// LimitOf keeps a limit from being negative: SQLite takes that for "all", and
// PostgreSQL refuses it.
func LimitOf(limit int) int { return max(limit, 0) }

// Cut makes a page of limit items from one more than that.
func Cut[T any](items []T, limit int) (page []T, more bool) {
	if limit = LimitOf(limit); len(items) > limit {
		return items[:limit], true
	}
	return items, false
}
