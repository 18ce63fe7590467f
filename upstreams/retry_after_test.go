package upstreams

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Retry-After is the time that the queue takes at the rate at which requests end.
func TestRetryAfterOfTheQueue(t *testing.T) {
	tests := []struct {
		name        string
		took        time.Duration // of a request
		seqs, queue int
		still       time.Duration // that nothing has ended for
		want        int
	}{
		{"quick", 100 * time.Millisecond, 4, 3, 0, 1},
		{"slow", 8 * time.Second, 4, 9, 0, 20},
		{"at most a minute", 100 * time.Second, 1, 9, 0, 60},
		{"stalled", 100 * time.Millisecond, 4, 3, 5 * time.Second, 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newQueueWorld(t, Config{QueueSize: test.queue}, test.seqs)
				w.send("measured", "k")
				time.Sleep(test.took)
				w.answer(answerJSON)
				for i := range test.seqs + test.queue {
					w.send(fmt.Sprint(i), "k")
				}
				time.Sleep(test.still)
				if got := w.send("refused", "k").wantRefused(t, http.StatusTooManyRequests, "rate_limit_exceeded"); got != test.want {
					t.Errorf("Retry-After %d s, want %d", got, test.want)
				}
				w.finish()
			})
		})
	}
}
