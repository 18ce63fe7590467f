package httpapi

import (
	"encoding/json"
	"testing"
	"time"
)

// Durations in reports have the digits of their microseconds and no others.
func TestSecondsOfReports(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                           "0",
		90250 * time.Millisecond:    "90.25",
		1928063 * time.Microsecond:  "1.928063",
		192806300 * time.Nanosecond: "0.192806",
		30*24*time.Hour + 123457*time.Microsecond: "2592000.123457",
	} {
		got, err := json.Marshal(reportSeconds(d))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, want %s (%v)", d, got, want, err)
		}
	}
}
