package engine

import (
	"context"
	"errors"
	"time"
)

// queueCooldown is how long a queue that failed is not asked: the store knows all
// that the queue does, and a queue that does not answer would cost everybody
// who asks its timeout.
const queueCooldown = 5 * time.Second

// errQueueTripped is what a queue says that failed a moment ago.
var errQueueTripped = errors.New("queue failed and is left alone for a while")

// noteQueue takes note of how the queue did. After a failure nobody asks it for
// a while, but for how it is.
func (p *parts) noteQueue(err error) {
	if errors.Is(err, errQueueTripped) {
		return // what is wrong was noted before
	}
	p.health.Note("queue", err)
	if err != nil && !errors.Is(err, context.Canceled) {
		p.queue.trip()
	}
}

func (q *lazyQueue) trip() { q.openUntil.Store(time.Now().Add(queueCooldown).UnixNano()) }

// ready returns the reason why the queue must not be asked now.
func (q *lazyQueue) ready() error {
	if err := q.there(); err != nil {
		return err
	}
	if time.Now().UnixNano() < q.openUntil.Load() {
		return errQueueTripped
	}
	return nil
}
