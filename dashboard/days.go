package dashboard

import "time"

// dayIn reads a day as a form sends it, and gives when it begins and ends by the
// reader's clock; "" is no day, and no mistake.
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

// dayStart is when a day begins in a zone. In some zones clocks are put forward
// or back at midnight.
func dayStart(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	if at.Day() != day.Day() { // there is no midnight: the day begins when clocks are put forward
		_, at = at.ZoneBounds()
		return at
	}
	if earlier := at.Add(-time.Hour); earlier.Day() == day.Day() { // there are two
		return earlier
	}
	return at
}

// twice tells whether the clock shows the same time an hour before or after, as
// clocks are put back.
func twice(at time.Time) bool {
	_, here := at.Zone()
	for _, away := range []time.Duration{-time.Hour, time.Hour} {
		if _, there := at.Add(away).Zone(); here-there == int(away/time.Second) {
			return true
		}
	}
	return false
}
