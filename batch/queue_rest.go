package batch

import "time"

// queueRest is how long a queue that failed is not asked: the store knows all
// that the queue does, and a queue that does not answer would cost every claim
// its timeout.
const queueRest = 5 * time.Second

// noteQueue takes note of how the queue did.
func (e *Engine) noteQueue(err error) {
	e.note("queue", err)
	if err != nil {
		e.queueRested.Store(time.Now().Add(queueRest).UnixNano())
	}
}

// queueWorks tells whether the queue is to be asked.
func (e *Engine) queueWorks() bool { return time.Now().UnixNano() >= e.queueRested.Load() }
