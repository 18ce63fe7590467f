// Package wait has the pauses and signals of goroutines that work in the background.
package wait

import (
	"context"
	"time"
)

// Sleep waits for d or until ctx ends, and reports whether it was d.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Ring makes the receiver of a channel with a buffer of one look once more. It never
// waits: a value that is already there serves for both.
func Ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
