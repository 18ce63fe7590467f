package postgres

import (
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

type pgInt8 = pgtype.Int8

// micros is how a time is stored.
func micros(t time.Time) int64 { return t.UnixMicro() }

// endOf is when something that begins at t and lives for ttl ends, NULL for a
// ttl of 0.
func endOf(t time.Time, ttl time.Duration) *int64 {
	if ttl == 0 {
		return nil
	}
	return new(micros(t.Add(ttl)))
}

// timeIn scans a time; NULL is the zero time.
type timeIn struct{ to *time.Time }

// ScanInt64 is how pgx fills in a column of integers
// (https://pkg.go.dev/github.com/jackc/pgx/v5/pgtype#Int64Scanner).
func (t timeIn) ScanInt64(v pgInt8) error {
	*t.to = time.Time{}
	if v.Valid {
		*t.to = time.UnixMicro(v.Int64).UTC()
	}
	return nil
}

// durationIn scans a duration.
type durationIn struct{ to *time.Duration }

// ScanInt64 is like timeIn's.
func (d durationIn) ScanInt64(v pgInt8) error {
	*d.to = time.Duration(v.Int64) * time.Microsecond
	return nil
}

// text is how JSON is stored, NULL for none.
func text(json []byte) *string {
	if json == nil {
		return nil
	}
	return new(string(json))
}
