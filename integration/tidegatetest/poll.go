package tidegatetest

import (
	"testing"
	"time"
)

// pollInterval is the interval of polls of another process's state.
const pollInterval = 10 * time.Millisecond

// Eventually waits until done returns true and fails the test if it does not within the
// limit. what describes the condition, such as "the batch to end".
func Eventually(tb testing.TB, limit time.Duration, what string, done func() bool) {
	tb.Helper()
	if !Poll(limit, done) {
		tb.Fatalf("waited %s in vain for %s", limit, what)
	}
}

// Poll calls done until it returns true, or until the limit is over. It reports whether
// done returned true.
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
