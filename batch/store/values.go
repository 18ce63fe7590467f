package store

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Micros returns a time in the stored format: microseconds since the Unix epoch.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// EndOf returns the end of a lifetime ttl that begins at t, NULL for a ttl of 0.
func EndOf(t time.Time, ttl time.Duration) *int64 {
	if ttl == 0 {
		return nil
	}
	return new(Micros(t.Add(ttl)))
}

// TimeOrNull returns how a time is stored, NULL for the zero time.
func TimeOrNull(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return new(Micros(t))
}

// LeaseEnd returns the end of a lease that begins now. It is never 0, which means
// that there is no lease.
func LeaseEnd(now time.Time, lease time.Duration) int64 { return max(Micros(now.Add(lease)), 1) }

// FreeUntil is the latest end of a lease by which a slice is free for a claimant.
func FreeUntil(now time.Time, by batch.Claimant) int64 {
	if by.Patient {
		return 0 // only without a holder
	}
	return Micros(now)
}

// Text returns the stored form of JSON, NULL for none.
func Text(json []byte) *string {
	if json == nil {
		return nil
	}
	return new(string(json))
}

// TimeIn scans a time; NULL is the zero time.
func TimeIn(to *time.Time) sql.Scanner { return timeIn{to} }

type timeIn struct{ to *time.Time }

func (t timeIn) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t.to = time.Time{}
	case int64:
		*t.to = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("no time: %T", v)
	}
	return nil
}

// durationIn is a [sql.Scanner] for a duration, in microseconds.
type durationIn struct{ to *time.Duration }

func (d durationIn) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("no duration: %T", v)
	}
	*d.to = time.Duration(n) * time.Microsecond
	return nil
}
