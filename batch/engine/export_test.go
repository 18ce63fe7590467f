package engine

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// CheckContents does one round of comparing contents with rows.
var CheckContents = (*Engine).checkContents

// LookOften makes an engine read its backlog on every request.
func LookOften(e *Engine) { e.backlog.age = 0 }

// AgeBacklog makes the last look at the backlog, and the last try, older.
func AgeBacklog(e *Engine, by time.Duration) {
	b := e.backlog
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	b.tried = b.tried.Add(-by)
	aged := *b.last.Load()
	aged.at = aged.at.Add(-by)
	b.last.Store(&aged)
}

// WrapStore and WrapQueue wrap drivers as NewEngine does.
func WrapStore(s batch.Store) batch.Store { return &timedStore{s, newOperationTimes()} }

func WrapQueue(q batch.Queue) batch.Queue {
	return &lazyQueue{Queue: q, times: newOperationTimes()}
}
