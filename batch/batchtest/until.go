package batchtest

import (
	"testing"
	"time"
)

// Patience limits how long tests wait for an event that must happen.
const Patience = 2 * time.Minute

// Until polls a condition that other goroutines make true.
func Until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not true after %s: %s", Patience, what)
		}
	}
}
