package upstreams

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HoursConfig limits the share of the slots that batch lines may use by time of day.
// The zero value does not limit it.
type HoursConfig struct {
	// Ranges are evaluated in order: the first range that contains the time applies.
	Ranges []HoursRange
	// Else is the share at all other times, 0 to 1. Default: 1.
	Else *float64
	// Zone is the name of the time zone, such as Europe/Berlin. Default: the
	// machine's.
	Zone string
}

// HoursRange is a time range and its share.
type HoursRange struct {
	// When is a range of the day such as "22:00-06:00", which may cross midnight, or
	// days of the week such as "Sat,Sun", or both: "Mon-Fri 08:00-18:00". A range that
	// crosses midnight belongs to the day on which it begins.
	When string
	// Share is the part of the slots that batch lines may use, 0 to 1.
	Share float64
}

// Validate checks the configuration. The error names the range.
func (c HoursConfig) Validate() error {
	_, err := c.parse()
	return err
}

// hours is a parsed HoursConfig.
type hours struct {
	ranges    []hoursRange
	otherwise float64
	zone      *time.Location
}

// hoursRange is a range of the day on some days of the week.
type hoursRange struct {
	days       [7]bool // by time.Weekday
	begin, end int     // minutes of the day; end is below begin when it crosses midnight
	share      float64
}

const dayMinutes = 24 * 60

// errHoursNone reports a configuration that has no effect, which cannot be intended.
var errHoursNone = errors.New("hours: every range has the share full, and else is not set: set else to the share outside of them, such as 0.3 or none")

func (c HoursConfig) parse() (*hours, error) {
	h := &hours{otherwise: 1, zone: time.Local}
	if c.Zone != "" {
		zone, err := ParseZone(c.Zone)
		if err != nil {
			return nil, fmt.Errorf("hours_zone: %w", err)
		}
		h.zone = zone
	}
	if c.Else != nil {
		h.otherwise = *c.Else
		if !isShare(h.otherwise) {
			return nil, fmt.Errorf("else: %v must be from 0 to 1", h.otherwise)
		}
	}
	if len(c.Ranges) == 0 {
		switch {
		case c.Else != nil:
			return nil, errors.New("else: needs hours before it")
		case c.Zone != "":
			return nil, errors.New("hours_zone: needs hours")
		}
		return h, nil
	}
	for _, r := range c.Ranges {
		parsed, err := parseHours(r.When)
		if err != nil {
			return nil, fmt.Errorf("hours: %w", err)
		}
		if parsed.share = r.Share; !isShare(r.Share) {
			return nil, fmt.Errorf("hours %q: the share %v must be from 0 to 1", r.When, r.Share)
		}
		h.ranges = append(h.ranges, parsed)
	}
	if c.Else == nil && !slices.ContainsFunc(h.ranges, func(r hoursRange) bool { return r.share < 1 }) {
		return nil, errHoursNone
	}
	return h, nil
}

func isShare(share float64) bool { return share >= 0 && share <= 1 }

// ParseHours checks HoursRange.When.
func ParseHours(when string) error {
	_, err := parseHours(when)
	return err
}

// ParseZone returns the time zone with the name. "" is not a zone.
func ParseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" {
		return nil, fmt.Errorf("unknown time zone %q: use a name such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

func parseHours(when string) (hoursRange, error) {
	r := hoursRange{days: [7]bool{true, true, true, true, true, true, true}, end: dayMinutes}
	fail := func(problem string) (hoursRange, error) {
		return hoursRange{}, fmt.Errorf(`%q %s: use a range such as "22:00-06:00", "Mon-Fri 08:00-18:00" or "Sat,Sun"`, when, problem)
	}
	words := strings.Fields(when)
	if len(words) == 0 || len(words) > 2 {
		return fail("is not a time range")
	}
	clock := words[len(words)-1]
	if len(words) == 2 || !strings.Contains(clock, ":") {
		days, ok := parseDays(words[0])
		if !ok {
			return fail("has no days of the week in " + strconv.Quote(words[0]))
		}
		r.days = days
	}
	if len(words) == 1 && !strings.Contains(clock, ":") {
		return r, nil // whole days
	}
	from, to, ok := strings.Cut(clock, "-")
	begin, okBegin := parseClock(from)
	end, okEnd := parseClock(to)
	switch {
	case !ok || !okBegin || !okEnd:
		return fail("has no times of day from 00:00 to 24:00 in " + strconv.Quote(clock))
	case begin == end:
		return fail("begins when it ends")
	case begin == dayMinutes:
		return fail("begins at 24:00")
	}
	r.begin, r.end = begin, end
	return r, nil
}

// parseClock parses hours and minutes and returns minutes.
func parseClock(s string) (minutes int, ok bool) {
	hour, minute, ok := strings.Cut(s, ":")
	if !ok || len(hour) < 1 || len(hour) > 2 || len(minute) != 2 {
		return 0, false
	}
	h, errHour := strconv.ParseUint(hour, 10, 8)
	m, errMinute := strconv.ParseUint(minute, 10, 8)
	minutes = int(h)*60 + int(m)
	return minutes, errHour == nil && errMinute == nil && m < 60 && minutes <= dayMinutes
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// parseDays parses days such as "Mon-Fri", "Sat,Sun" and "Fri-Mon".
func parseDays(s string) (days [7]bool, ok bool) {
	for part := range strings.SplitSeq(strings.ToLower(s), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, last := slices.Index(weekdays, from), slices.Index(weekdays, to)
		if first < 0 || last < 0 {
			return days, false
		}
		for day := first; ; day = (day + 1) % len(days) {
			days[day] = true
			if day == last {
				break
			}
		}
	}
	return days, true
}
