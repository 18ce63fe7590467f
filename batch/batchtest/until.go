package batchtest

import (
	"testing"
	"time"
)

// Patience limits how long tests wait for an event that must happen.
const Patience = 5 * time.Minute

// Until polls a condition that other goroutines make true.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); pause(start) {
		if time.Since(start) > Patience {
			t.Fatalf("not true after %s: %s", Patience, what)
		}
	}
}

// pause sleeps between two polls for a twentieth of the time since start, from 1 to 20 ms:
// many conditions read the store, which takes about as long under the race detector.
func pause(start time.Time) {
	time.Sleep(min(max(time.Since(start)/20, time.Millisecond), 20*time.Millisecond))
}
