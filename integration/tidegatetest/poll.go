package tidegatetest

import (
	"testing"
	"time"
)

// pollInterval is how often a state of another process is looked at.
const pollInterval = 10 * time.Millisecond

// Eventually waits until done reports true and fails the test if it does not
// within the limit. What was waited for is said as in "the batch to end".
func Eventually(tb testing.TB, limit time.Duration, what string, done func() bool) {
	tb.Helper()
	if !Poll(limit, done) {
		tb.Fatalf("waited %s in vain for %s", limit, what)
	}
}

// Poll calls done until it reports true, or until the limit is over. It tells
// which.
func Poll(limit time.Duration, done func() bool) bool {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); ; <-tick.C {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
