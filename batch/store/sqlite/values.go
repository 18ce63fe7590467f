package sqlite

import (
	"fmt"
	"time"
)

// micros is how a time is stored.
func micros(t time.Time) int64 { return t.UnixMicro() }

// microsIn is how a duration is stored.
func microsIn(d time.Duration) int64 { return d.Microseconds() }

// endOf is when something that begins at t and lives for ttl ends, NULL for a
// ttl of 0.
func endOf(t time.Time, ttl time.Duration) any {
	if ttl == 0 {
		return nil
	}
	return micros(t.Add(ttl))
}

// timeIn scans a time; NULL is the zero time.
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

// durationIn scans a duration.
type durationIn struct{ to *time.Duration }

func (d durationIn) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("no duration: %T", v)
	}
	*d.to = time.Duration(n) * time.Microsecond
	return nil
}

// text is how JSON is stored, NULL for none.
func text(json []byte) any {
	if json == nil {
		return nil
	}
	return string(json)
}
