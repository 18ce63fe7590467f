package scheduler

import (
	"context"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// Results that finished during the last commit are committed together, up to these limits.
const (
	commitLines = 256
	commitBytes = 4 << 20
)

// finishedLine is the result of a line that is not durable.
type finishedLine struct {
	line   *line // belongs to the loop; the committer passes it back unread
	claim  batch.SliceClaim
	result batch.LineResult
	grant  *limits.Grant // nil without limits
}

// committer makes results durable, in groups. While the store is away it holds results and
// tries again. They are bounded, because each counts as in flight until it is durable.
type committer struct {
	deps      *Dependencies
	committed func(group []finishedLine, stale []batch.SliceClaim)
	bell      chan struct{}

	mu       sync.Mutex
	finished []finishedLine // guarded by mu
	bytes    int64          // guarded by mu; of their records
	closing  bool           // guarded by mu; nothing more is added
}

// newCommitter returns a committer that calls committed for each group that the store has
// taken, with the claims that were stale.
func newCommitter(deps *Dependencies, committed func(group []finishedLine, stale []batch.SliceClaim)) *committer {
	return &committer{deps: deps, committed: committed, bell: make(chan struct{}, 1)}
}

// add adds the result of a line.
func (c *committer) add(l finishedLine) {
	c.mu.Lock()
	c.finished = append(c.finished, l)
	c.bytes += int64(len(l.result.Record))
	c.mu.Unlock()
	c.ring()
}

// waiting returns how many bytes of results wait to be committed.
func (c *committer) waiting() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// finish declares that nothing more is added, so that run ends when everything is
// committed.
func (c *committer) finish() {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.ring()
}

func (c *committer) ring() { wait.Ring(c.bell) }

// take removes and returns the next group, and reports whether no other will follow.
func (c *committer) take() (group []finishedLine, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var size int64
	n := 0
	for n < len(c.finished) && n < commitLines {
		s := int64(len(c.finished[n].result.Record))
		if n > 0 && size+s > commitBytes {
			break
		}
		size += s
		n++
	}
	group = append([]finishedLine(nil), c.finished[:n]...)
	left := copy(c.finished, c.finished[n:])
	clear(c.finished[left:])
	c.finished = c.finished[:left]
	c.bytes -= size
	return group, c.closing && n == 0
}

// run commits groups until everything is committed after finish, or ctx ends.
func (c *committer) run(ctx context.Context) {
	for {
		group, ended := c.take()
		if ended {
			return
		}
		if len(group) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.bell:
			}
			continue
		}
		if !c.commit(ctx, group) {
			return
		}
	}
}

// Pauses between attempts to commit a group.
const (
	commitBackoffMin = 50 * time.Millisecond
	commitBackoffMax = time.Second // less than outageGrace
)

// commit makes a group durable, however long that takes, and reports whether it did. It
// gives up when ctx ends.
func (c *committer) commit(ctx context.Context, group []finishedLine) bool {
	writes := segments(group)
	for pause := commitBackoffMin; ; pause = min(2*pause, commitBackoffMax) {
		statement, cancel := bounded(ctx)
		stale, err := c.deps.Store.CommitResults(statement, writes)
		cancel()
		c.deps.Health.Note("committing results", err)
		if err == nil {
			c.committed(group, stale)
			return true
		}
		if !wait.Sleep(ctx, pause) {
			return false
		}
	}
}

// segments groups lines by slice, in the order of the first line of each.
func segments(group []finishedLine) []batch.SegmentWrite {
	at := make(map[batch.SliceClaim]int)
	var writes []batch.SegmentWrite
	for _, l := range group {
		i, seen := at[l.claim]
		if !seen {
			i = len(writes)
			at[l.claim] = i
			writes = append(writes, batch.SegmentWrite{Claim: l.claim})
		}
		writes[i].Lines = append(writes[i].Lines, l.result)
	}
	return writes
}
