package dashboard

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/templates"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, ok := findZone(name)
	if !ok {
		t.Fatalf("there is no zone %s", name)
	}
	return z
}

// A day is the reader's, also where it has no midnight, two, or another number
// of hours.
func TestDays(t *testing.T) {
	for _, c := range []struct {
		zone, day, from, to string // the last two in UTC
	}{
		{"UTC", "2026-11-23", "2026-11-23T00:00", "2026-11-24T00:00"},
		{"Asia/Kolkata", "2026-11-23", "2026-11-22T18:30", "2026-11-23T18:30"},
		{"Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15", "2026-01-01T18:15"},
		{"Europe/Berlin", "2026-03-29", "2026-03-28T23:00", "2026-03-29T22:00"},
		{"Europe/Berlin", "2026-10-25", "2026-10-24T22:00", "2026-10-25T23:00"},
		{"America/Santiago", "2026-09-06", "2026-09-06T04:00", "2026-09-07T03:00"}, // 00:00 is 01:00
		{"America/Santiago", "2026-09-05", "2026-09-05T04:00", "2026-09-06T04:00"},
		{"America/Santiago", "2026-04-04", "2026-04-04T03:00", "2026-04-05T04:00"}, // 24:00 is 23:00
		{"America/Havana", "2026-11-01", "2026-11-01T04:00", "2026-11-02T05:00"},   // 01:00 is 00:00
		{"America/Havana", "2026-10-31", "2026-10-31T04:00", "2026-11-01T04:00"},
	} {
		from, to, ok := dayIn(c.day, zone(t, c.zone))
		const layout = "2006-01-02T15:04"
		if f, u := from.UTC().Format(layout), to.UTC().Format(layout); !ok || f != c.from || u != c.to {
			t.Errorf("%s in %s is %s to %s, want %s to %s", c.day, c.zone, f, u, c.from, c.to)
		}
	}
	for _, bad := range []string{"2026-02-30", "23.11.2026", "today"} {
		if _, _, ok := dayIn(bad, time.UTC); ok {
			t.Errorf("%s is taken for a day", bad)
		}
	}
}

// TestStepNames checks that steps are named by the reader's clock, without duplicates on the
// day on which clocks are set back, and that skipped hours have no label.
func TestStepNames(t *testing.T) {
	for _, c := range []struct {
		zone, from string // UTC
		step       time.Duration
		want       string
	}{
		{"Asia/Kolkata", "2026-11-23T18:15", 15 * time.Minute, "Mon Nov 23 23:45–00:00"},
		{"Asia/Kolkata", "2026-11-23T18:00", time.Hour, "Mon Nov 23 23:30–Nov 24 00:30"},
		{"Asia/Kathmandu", "2026-11-23T18:00", 6 * time.Hour, "Mon Nov 23 23:45–Nov 24 05:45"},
		{"Europe/Berlin", "2026-03-29T00:45", 15 * time.Minute, "Sun Mar 29 01:45–03:00"},
		{"Europe/Berlin", "2026-10-24T23:45", 15 * time.Minute, "Sun Oct 25 01:45–02:00 CEST"},
		{"Europe/Berlin", "2026-10-25T00:45", 15 * time.Minute, "Sun Oct 25 02:45 CEST–02:00 CET"},
		{"Europe/Berlin", "2026-10-25T01:45", 15 * time.Minute, "Sun Oct 25 02:45 CET–03:00"},
	} {
		start, err := time.Parse("2006-01-02T15:04", c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := stepName(templates.Site{Zone: zone(t, c.zone)}, c.step, start); got != c.want {
			t.Errorf("%s in %s: %q, want %q", c.from, c.zone, got, c.want)
		}
	}
	for _, day := range []time.Time{time.Date(2026, 3, 29, 12, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 12, 0, 0, 0, time.UTC)} {
		s := templates.Site{Zone: zone(t, "Europe/Berlin"), Now: day}
		for _, p := range spans {
			names, ticks := make(map[string]bool), make(map[string]bool)
			for _, c := range columns(s, p, fill(p.query(day, ""), nil), func(Bucket) []float64 { return nil }) {
				if names[c.Name] || c.Tick != "" && ticks[c.Tick] {
					t.Errorf("over %s at %s: got %q with the tick %q twice", p.name, day, c.Name, c.Tick)
				}
				names[c.Name], ticks[c.Tick] = true, true
			}
		}
	}
}
