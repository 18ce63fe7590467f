package scheduler

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

func TestCircuitBreaker(t *testing.T) {
	ok, bad, other := failure{}, failure{status: 400, code: "invalid", message: "no such tool"}, failure{status: 404}
	for name, tt := range map[string]struct {
		queue   batchQueue
		results []failure
		after   string // metadata
		want    int    // which result opens it, from 1; 0: none
	}{
		"three in a row":            {results: []failure{bad, bad, bad}, want: 3},
		"a line succeeds":           {results: []failure{bad, bad, ok, bad, bad}},
		"another error":             {results: []failure{bad, bad, other, bad, bad}},
		"another error, then three": {results: []failure{bad, bad, other, other, other}, want: 5},
		"the batch says two":        {results: []failure{bad, bad, bad}, after: "2", want: 2},
		"all that is left runs":     {queue: batchQueue{exhausted: true}, results: []failure{bad, bad, bad, bad}},
		"paused":                    {queue: batchQueue{state: paused}, results: []failure{bad, bad, bad, bad}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCircuitBreaker()
			q := &tt.queue
			q.batch = batch.Batch{ID: "b", Metadata: map[string]string{}}
			if tt.after != "" {
				q.batch.Metadata[batch.StopAfterKey] = tt.after
			}
			opened := 0
			for i, f := range tt.results {
				reason := c.ended(q, f, &batch.Config{StopAfter: 3})
				if reason == "" {
					continue
				}
				opened = i + 1
				if !strings.Contains(reason, f.String()) {
					t.Errorf("reason: got %q, want the error %q in it", reason, f)
				}
				break
			}
			if opened != tt.want || c.open["b"] != (tt.want > 0) {
				t.Errorf("opened by result %d, open %v, want %d", opened, c.open["b"], tt.want)
			}
			c.close("b")
			if c.open["b"] {
				t.Error("after close: got open, want not")
			}
		})
	}
}

// Streaks of batches that are not active any more are forgotten.
func TestCircuitBreakerRetain(t *testing.T) {
	c := newCircuitBreaker()
	for _, id := range []string{"a", "b"} {
		c.ended(&batchQueue{batch: batch.Batch{ID: id}}, failure{status: 400}, &batch.Config{StopAfter: 9})
	}
	c.retain(map[string]batch.Batch{"b": {}})
	if len(c.streaks) != 1 || c.streaks["b"] == nil {
		t.Errorf("got %d streaks, of b %v, want that of b alone", len(c.streaks), c.streaks["b"])
	}
}
