package tidegatetest

import (
	"testing"
	"time"
)

// The interval of polls of another process's state is a twentieth of the time that they have
// taken so far, within these limits: a poll can cost several processes a millisecond.
const (
	minPollInterval = 10 * time.Millisecond
	maxPollInterval = 100 * time.Millisecond
)

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
	for start := time.Now(); !done(); {
		elapsed := time.Since(start)
		if elapsed > limit {
			return false
		}
		<-time.After(min(max(elapsed/20, minPollInterval), maxPollInterval))
	}
	return true
}
