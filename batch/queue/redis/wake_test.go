package redis

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/redistest"
)

// subscribed waits until n instances listen, and takes their first wake-ups.
func subscribed(t *testing.T, s *redistest.Server, instances ...*Queue) {
	t.Helper()
	eventually(t, "all listen", func() bool {
		answer := do(t, s, "PUBSUB", "NUMSUB", instances[0].cfg.channel()).([]any)
		return answer[1] == int64(len(instances))
	})
	for _, q := range instances {
		heard(t, q)
	}
}

func TestInstancesWakeEachOther(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix()}
	one, two := open(t, cfg), open(t, cfg)
	subscribed(t, shared, one, two)
	must(t, one.Notify(t.Context()))
	heard(t, one)
	heard(t, two)
	must(t, two.Push(t.Context(), aBatch, []int{1}))
	heard(t, one)
	heard(t, two)
}

func TestWakesAreMerged(t *testing.T) {
	q := open(t, Config{Server: serverOf(t, shared), Prefix: prefix()})
	subscribed(t, shared, q)
	for range 100 {
		must(t, q.Notify(t.Context()))
	}
	heard(t, q)
	// The last value may still be in transit: it only matters that they end.
	for quiet := false; !quiet; {
		select {
		case <-q.Wake():
		case <-time.After(100 * time.Millisecond):
			quiet = true
		}
	}
}

// TestWakeAfterOutage checks that a wake-up follows after an outage, for publications during
// it.
func TestWakeAfterOutage(t *testing.T) {
	s := redistest.Start(t)
	log, seen := logs()
	q := open(t, Config{Server: serverOf(t, s), Logger: log, Timeout: 500 * time.Millisecond})
	subscribed(t, s, q)
	must(t, s.Kill())
	eventually(t, "the outage is noticed", func() bool { return seen.FilterMessageSnippet("was interrupted").Len() > 0 })
	must(t, s.Restart())
	heard(t, q)
	if n := seen.FilterMessageSnippet("was interrupted").Len(); n != 1 {
		t.Errorf("the outage was logged %d times", n)
	}
}
