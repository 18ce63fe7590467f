package webhook

import (
	"math/rand/v2"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// The pauses before retries: they triple from firstPause to longestPause.
const (
	firstPause   = 5 * time.Second
	longestPause = time.Hour
)

// pauseAfter returns the pause after a failed attempt of a delivery, or false if the
// delivery is given up. A pause ends at the latest when the time for retries ends, so that
// the last attempt is made then. Of the pause a fifth is random.
func pauseAfter(d batch.Delivery, a answer) (time.Duration, bool) {
	left := batch.WebhookRetryTime - d.Age
	if left <= 0 {
		return 0, false
	}
	pause := firstPause
	for i := 1; i < d.Attempts && pause < longestPause; i++ {
		pause *= 3
	}
	pause = max(min(pause, longestPause), min(a.retryAfter, longestPause))
	pause += rand.N(pause / 5)
	return min(pause, left), true
}
