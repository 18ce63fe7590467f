package templates

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Count writes a whole number with its thousands apart: 12,345.
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

// Plural writes a count with the word for it: 1 line, 2,000 lines.
func Plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + many
}

// Short writes a number in three digits and a unit, 1.24 M, and those below
// ten thousand whole.
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

// digits writes a number that is not negative in three digits.
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

// PerSecond writes a rate: 0, 0.42, 12.3, 1,234, 12.4 k.
func PerSecond(f float64) string {
	if f >= 9_999.5 {
		return Short(int64(math.Round(f)))
	}
	if f > 0 && f < .005 {
		return "<0.01"
	}
	return digits(f)
}

// Percent writes a share of 1. What is not nothing is never written as 0, and
// what is not all never as 100.
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

// Share is part as a share of whole, 0 of nothing.
func Share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Bytes writes a size: 812 B, 4.20 MiB.
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

// Span writes how long something is, in two units at most: 2 d 3 h, 1 h 04 min,
// 3 min 20 s, 45 s.
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

// Coarse writes how long something is in its larger unit, for what changes all
// the time: 3 min, 2 h, 5 d.
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

// roughly writes a guess no finer than it is: 43 min, 1 h 20 min, 14 h, 3 d.
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

// Brief writes a time that is well below a minute: 340 ms, 1.24 s.
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

// When writes a moment as the reader's clock has it, no longer than needed:
// 14:05 today, Nov 23 14:05 this year.
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

// Exactly writes a moment in full.
func (s Site) Exactly(t time.Time) string {
	return t.In(s.Zone).Format("Mon, Jan 2, 2006 15:04:05 MST")
}

// Ago is how long ago a moment was.
func (s Site) Ago(t time.Time) string { return Coarse(s.Now.Sub(t)) }

// Words writes a state without its underscores.
func Words(state string) string { return strings.ReplaceAll(state, "_", " ") }

// Signed writes a number with its sign unless it is 0.
func Signed(n int) string {
	if n > 0 {
		return "+" + strconv.Itoa(n)
	}
	if n < 0 {
		return "−" + strconv.Itoa(-n)
	}
	return "0"
}

// tone is the colour of a state.
func tone(state string) string {
	switch state {
	case "up", "completed", "ok":
		return "good"
	case "busy", "loading", "draining", "paused", "warning", "cancelling", "needed":
		return "warn"
	case "down", "suspect", "failed", "failing", "expired":
		return "bad"
	case "in_progress", "finalizing", "validating", "running":
		return "busy"
	default:
		return "idle"
	}
}
