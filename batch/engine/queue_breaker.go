package engine

import (
	"context"
	"errors"
	"time"
)

// queueCooldown is the time for which the circuit breaker of the queue stays open after an
// error. The store has all that the queue has, and each call of a queue that does not answer
// takes its timeout.
const queueCooldown = 5 * time.Second

// errQueueTripped reports that the circuit breaker of the queue is open.
var errQueueTripped = errors.New("queue failed and is left alone for a while")

// noteQueue records the result of a call of the queue. An error opens its circuit breaker:
// for queueCooldown only pings reach the queue.
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
