package dashboard

import "time"

// dayIn parses a day from a form, and returns its start and end in the reader's zone;
// "" is valid and returns zero times.
func dayIn(text string, zone *time.Location) (from, to time.Time, ok bool) {
	if text == "" {
		return time.Time{}, time.Time{}, true
	}
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, time.Time{}, false
	}
	return dayStart(day, zone), dayStart(day.AddDate(0, 0, 1), zone), true
}

// dayStart returns when a day begins in a zone. In some zones the clocks change at
// midnight.
func dayStart(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	if at.Day() != day.Day() { // midnight does not exist: the day begins when clocks are put forward
		_, at = at.ZoneBounds()
		return at
	}
	if earlier := at.Add(-time.Hour); earlier.Day() == day.Day() { // midnight exists twice
		return earlier
	}
	return at
}

// twice reports whether the clock shows the same time an hour before or after,
// because clocks are put back.
func twice(at time.Time) bool {
	_, here := at.Zone()
	for _, away := range []time.Duration{-time.Hour, time.Hour} {
		if _, there := at.Add(away).Zone(); here-there == int(away/time.Second) {
			return true
		}
	}
	return false
}
