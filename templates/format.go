package templates

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count formats an integer with thousands separators: 12,345.
func Count(n int64) string {
	if n < 0 {
		return "−" + Count(-n)
	}
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// Plural formats a count with its noun: 1 line, 2,000 lines.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Short formats a number with three digits and a unit, 1.24 M, and integers below ten
// thousand completely.
func Short(n int64) string {
	if n < 10_000 {
		return Count(n)
	}
	f := float64(n)
	for _, unit := range []string{"k", "M", "G", "T"} {
		f /= 1000
		if f < 999.5 || unit == "T" {
			return digits(f) + " " + unit
		}
	}
	return Count(n)
}

// digits formats a nonnegative number with three digits.
func digits(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 9.995:
		return strconv.FormatFloat(f, 'f', 2, 64)
	case f < 99.95:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return Count(int64(math.Round(f)))
	}
}

// PerSecond formats a rate: 0, 0.42, 12.3, 1,234, 12.4 k.
func PerSecond(f float64) string {
	if f >= 9_999.5 {
		return Short(int64(math.Round(f)))
	}
	if f > 0 && f < .005 {
		return "<0.01"
	}
	return digits(f)
}

// Percent formats a share of 1. Nonzero shares are never shown as 0, and shares below
// 1 never as 100.
func Percent(f float64) string {
	switch {
	case f <= 0:
		return "0 %"
	case f < .001:
		return "<0.1 %"
	case f < .0995:
		return strconv.FormatFloat(f*100, 'f', 1, 64) + " %"
	case f < 1 && f > .99:
		return strconv.FormatFloat(math.Floor(f*1000)/10, 'f', 1, 64) + " %"
	default:
		return strconv.FormatFloat(math.Round(f*100), 'f', 0, 64) + " %"
	}
}

// Share returns part relative to whole, 0 if whole is 0.
func Share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Bytes formats a size: 812 B, 4.20 MiB.
func Bytes(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		f /= 1024
		if f < 1000 || unit == "TiB" {
			return digits(f) + " " + unit
		}
	}
	return Count(n)
}

// Span formats a duration in at most two units: 2 d 3 h, 1 h 04 min, 3 min 20 s, 45
// s.
func Span(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 10*time.Minute && d%time.Minute != 0:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// Coarse formats a frequently changing duration in its larger unit: 3 min, 2 h, 5 d.
func Coarse(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "<1 min"
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	default:
		return fmt.Sprintf("%d d", d/(24*time.Hour))
	}
}

// roughly formats an estimate with its precision: 43 min, 1 h 20 min, 14 h, 3 d.
func roughly(d time.Duration) string {
	if d < time.Hour || d >= 6*time.Hour {
		return Coarse(d)
	}
	d = d.Round(10 * time.Minute)
	if d%time.Hour == 0 {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}

// Brief formats a duration well below a minute: 340 ms, 1.24 s.
func Brief(d time.Duration) string {
	switch {
	case d <= 0:
		return "–"
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(d.Seconds()*1000, 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 100*time.Second:
		return digits(d.Seconds()) + " s"
	default:
		return Span(d)
	}
}

// When formats a time in the reader's zone, as short as possible: 14:05 today, Nov 23
// 14:05 this year.
func (s Site) When(t time.Time) string { return s.when(t, "15:04") }

// WhenExactly is When with seconds, for events.
func (s Site) WhenExactly(t time.Time) string { return s.when(t, "15:04:05") }

func (s Site) when(t time.Time, clock string) string {
	if t.IsZero() {
		return "–"
	}
	t, now := t.In(s.Zone), s.Now.In(s.Zone)
	switch {
	case t.Year() != now.Year():
		return t.Format("Jan 2, 2006 " + clock)
	case t.YearDay() != now.YearDay():
		return t.Format("Jan 2 " + clock)
	default:
		return t.Format(clock)
	}
}

// Exactly formats a time completely.
func (s Site) Exactly(t time.Time) string {
	return t.In(s.Zone).Format("Mon, Jan 2, 2006 15:04:05 MST")
}

// Ago formats how long ago a time was.
func (s Site) Ago(t time.Time) string { return Coarse(s.Now.Sub(t)) }

// Words formats a state without underscores.
func Words(state string) string { return strings.ReplaceAll(state, "_", " ") }

// Signed formats a number with its sign unless it is 0.
func Signed(n int) string {
	if n > 0 {
		return "+" + strconv.Itoa(n)
	}
	if n < 0 {
		return "−" + strconv.Itoa(-n)
	}
	return "0"
}

// tone returns the colour of a state.
func tone(state string) string {
	switch state {
	case "up", "completed", "ok", "valid":
		return "good"
	case "busy", "loading", "draining", "paused", "warning", "cancelling", "needed":
		return "warn"
	case "down", "suspect", "failed", "failing", "expired", "revoked":
		return "bad"
	case "in_progress", "finalizing", "validating", "running":
		return "busy"
	default:
		return "idle"
	}
}
