package scheduler

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// circuitBreaker pauses batches whose lines fail in a row with the same error, in the
// order in which they ended at this gateway. It does not count the lines of peers.
type circuitBreaker struct {
	streaks map[string]*streak // by batch
	open    map[string]bool    // batches that are being paused in the store
}

// streak counts lines of a batch that failed in a row with the same error.
type streak struct {
	failure failure
	lines   int
}

func newCircuitBreaker() *circuitBreaker {
	return &circuitBreaker{streaks: make(map[string]*streak), open: make(map[string]bool)}
}

// failure is the error of a line without the parts that differ between lines. The zero
// value stands for a line that succeeded.
type failure struct {
	status  int // of the answer, 0 without an answer
	code    string
	message string
}

func (f failure) String() string {
	var parts []string
	if f.status != 0 {
		parts = append(parts, strconv.Itoa(f.status))
	}
	if f.code != "" {
		parts = append(parts, f.code)
	}
	text := strings.Join(parts, " ")
	if f.message != "" {
		return text + ": " + f.message
	}
	return text
}

// failureOf returns the error of a result.
func failureOf(result batch.LineResult) failure {
	if !result.Failed {
		return failure{}
	}
	head := openai.ScanResult(result.Record)
	return failure{head.Status, batch.ClipBytes(batch.ErrorCode(head), batch.MaxMessage), batch.SimilarMessage(batch.ErrorMessage(head))}
}

// stopAfter returns how many lines of a batch may fail in a row with one error; 0 for any
// number.
func stopAfter(b *batch.Batch, cfg *batch.Config) int {
	if n, err := batch.ParseStopAfter(b.Metadata[batch.StopAfterKey]); err == nil {
		return max(n, 0)
	}
	return max(cfg.StopAfter, 0)
}

// ended counts the result of a line, and returns why its batch is to be paused; "" if it
// is not. A pause saves the lines that have not begun: without any, the batch just ends.
func (c *circuitBreaker) ended(q *batchQueue, f failure, cfg *batch.Config) (reason string) {
	id := q.batch.ID
	if f == (failure{}) || q.isPaused() {
		delete(c.streaks, id)
		return ""
	}
	current := c.streaks[id]
	if current == nil || current.failure != f {
		current = &streak{failure: f}
		c.streaks[id] = current
	}
	current.lines++
	limit := stopAfter(&q.batch, cfg)
	if limit == 0 || current.lines < limit || q.allRuns() {
		return ""
	}
	delete(c.streaks, id)
	c.open[id] = true
	return fmt.Sprintf("%d lines failed in a row with the same error: %s", current.lines, current.failure)
}

// close records that the store has answered whether a batch is paused.
func (c *circuitBreaker) close(id string) { delete(c.open, id) }

// retain forgets the streaks of batches that are not active.
func (c *circuitBreaker) retain(active map[string]batch.Batch) {
	for id := range c.streaks {
		if _, still := active[id]; !still {
			delete(c.streaks, id)
		}
	}
}
