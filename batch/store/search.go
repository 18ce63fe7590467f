package store

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// SearchRows is the number of batches that one text search examines.
const SearchRows = 5000

// CursorAt writes the place of a row in a listing.
func CursorAt(seq int64) string { return strconv.FormatInt(seq, 36) }

// ParseCursor parses a cursor from CursorAt.
func ParseCursor(s string) (int64, error) {
	seq, err := strconv.ParseInt(s, 36, 64)
	if err != nil || seq < 0 {
		return 0, fmt.Errorf("%w: %q", batch.ErrBadCursor, s)
	}
	return seq, nil
}

// FoundBatch is a batch with its row's number.
type FoundBatch struct {
	batch.Batch
	Row int64
}

// ScanFoundBatch scans BatchColumns and seq.
func ScanFoundBatch(r Row) (f FoundBatch, err error) {
	f.Batch, err = scanBatchAnd(r, &f.Row)
	return f, err
}

// Filter is which of the statements that find batches answers a filter.
type Filter struct{ Status, Active, Paused, Model, OldestFirst bool }

// FilterOf converts a filter to the parameters of a statement.
func FilterOf(f batch.BatchFilter) Filter {
	return Filter{Status: f.Status != "", Active: f.Active, Paused: f.Paused, Model: f.Model != "", OldestFirst: f.OldestFirst}
}

// ActiveStatus is the SQL condition for batches that have not ended.
const ActiveStatus = `status IN ('validating', 'in_progress', 'finalizing', 'cancelling')`

// Between returns the numbers of the rows that are behind the page before: from
// (included) to below (not included).
func Between(f batch.BatchFilter) (from, below int64, err error) {
	if f.After == "" {
		return 0, math.MaxInt64, nil
	}
	cursor, err := ParseCursor(f.After)
	switch {
	case err != nil:
		return 0, 0, err
	case f.OldestFirst:
		return min(cursor, math.MaxInt64-1) + 1, math.MaxInt64, nil
	default:
		return 0, cursor, nil
	}
}

// OrderSlack limits the time by which a batch may be created earlier than one with a lower
// row number. Any of several batches created at once may get the lowest number, because the
// number is assigned after the time is read. In addition, a clock may be set back.
const OrderSlack = time.Hour

// Paused is the SQL condition for paused batches. A batch that has ended keeps its
// paused_at.
const Paused = `paused_at IS NOT NULL AND status IN ('validating', 'in_progress')`

// ActiveStatuses are the statuses of batches that have not ended.
var ActiveStatuses = []batch.Status{batch.Validating, batch.InProgress, batch.Finalizing, batch.Cancelling}

// Statuses are all statuses.
var Statuses = append(slices.Clone(ActiveStatuses), batch.Failed, batch.Completed, batch.Expired, batch.Cancelled)

// Orders are the ends of the statements that list batches: the newest first and
// the oldest first.
var Orders = map[bool]string{false: ` ORDER BY seq DESC`, true: ` ORDER BY seq`}

// Lasts are the expressions for the last row that a search examines, by order.
var Lasts = map[bool]string{false: `min(seq)`, true: `max(seq)`}

// Floor is the number of rows that a search examines, and the last of them.
type Floor struct{ Rows, Row int64 }

// ScanFloor scans a number of rows and the last seq.
func ScanFloor(r Row) (f Floor, err error) {
	err = r.Scan(&f.Rows, &f.Row)
	return f, err
}

// SearchTerms returns the search texts for text columns and for JSON columns. Only
// ASCII letters are converted to lower case, because databases differ in others.
func SearchTerms(text string) (plain, inJSON string, err error) {
	plain = strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
	quoted, err := json.Marshal(plain)
	if err != nil {
		return "", "", err
	}
	return plain, string(quoted[1 : len(quoted)-1]), nil
}

// Day is the width of a row of usage_1d.
const Day = 24 * time.Hour

// longPeriod is from where on sums are made of whole days.
const longPeriod = 7 * Day

// Bounds are a period as rows have it, in microseconds.
type Bounds struct {
	From, To, Step int64
	Daily          bool // steps are whole days
}

// Long reports whether a sum over the period is made of whole days.
func (b Bounds) Long() bool { return b.To-b.From > longPeriod.Microseconds() }

// BoundsOf rounds a period to buckets, and to days where steps are days.
func BoundsOf(p batch.Period) Bounds {
	step := max(p.Step, UsageBucket)
	if rest := step % UsageBucket; rest > 0 {
		step += UsageBucket - rest
	}
	b := Bounds{From: p.From.Truncate(UsageBucket).UnixMicro(), To: p.To.UnixMicro(), Step: step.Microseconds(), Daily: step%Day == 0}
	if b.Daily || b.Long() && p.Step == 0 {
		b.From = p.From.Truncate(Day).UnixMicro()
	}
	return b
}

// Horizons are the times before which history is pruned, in microseconds.
func Horizons(now time.Time) (history, minutes int64) {
	return now.Add(-batch.HistoryTTL).UnixMicro(), now.Add(-batch.MinutesTTL).UnixMicro()
}

// Whole returns the int64 nearest to a floating-point sum:
// absurd counts may spoil a statistic, but not the report.
func Whole(f float64) int64 {
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	default:
		return int64(math.Round(f))
	}
}
