package batch

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/access/limits"
)

// ClientLimiter enforces the limits of keys and tenants.
type ClientLimiter interface {
	// Limited reports whether requests of a client are limited.
	Limited(c limits.Client) bool
	// TakeLine takes a line from the limits of its client, with an estimate of what it
	// will use. A refused line waits.
	TakeLine(c limits.Client, want limits.Spend) (*limits.Grant, *limits.ReachedError)
	// LineRefused returns the limit that every line of a client reaches now, nil for none.
	LineRefused(c limits.Client) *limits.ReachedError
	// Reached returns which limit by time a client has reached now, "" for none.
	Reached(c limits.Client) string
	// TakeBatch counts a new batch. undo takes that back, because the batch was not made.
	TakeBatch(c limits.Client) (undo func(), refused *limits.ReachedError)
	// Queue returns the limits of waiting lines of a client.
	Queue(c limits.Client) []limits.QueueLimit

	// Spent counts what a client has used and what is not in the store yet.
	Spent(c limits.Client, s limits.Spend)
	// Budgeted returns the tenants and keys that have limits by month. If there are any,
	// their use must be read from the store now and then.
	Budgeted() []limits.Client
	// BeginRead begins a read of the use of the present month, which will contain all that
	// was counted by Spent before, and returns the start of the month. EndRead ends it.
	BeginRead() (month time.Time)
	EndRead(month time.Time, list []limits.ClientSpend, err error)
}

// Queued counts the lines of batches that are InProgress and have no result.
type Queued struct{ Lines, Tokens int64 }

// ClientQueued are the queued lines of a key in a tenant.
type ClientQueued struct {
	limits.Client
	Queued
}

// QueueFullError reports that a batch has more lines than its client may add to those that
// wait.
type QueueFullError struct {
	Limit limits.QueueLimit
	Queued
	Plan Queued // of the batch
}

func (e *QueueFullError) Error() string {
	owner, what, limit, queued, plan := "key", "line", e.Limit.Lines, e.Lines, e.Plan.Lines
	if e.Limit.Key == "" {
		owner = "tenant " + e.Limit.Tenant
	}
	if !e.lines() {
		what, limit, queued, plan = "token", e.Limit.Tokens, e.Tokens, e.Plan.Tokens
	}
	return fmt.Sprintf("Enqueued %s limit reached for the %s. Limit: %d enqueued %ss. In running batches: %d, in this batch: %d. Please try again once some in_progress batches have been completed.", what, owner, limit, what, queued, plan)
}

// lines reports whether there are too many lines, not tokens.
func (e *QueueFullError) lines() bool {
	return e.Limit.Lines > 0 && e.Lines+e.Plan.Lines > e.Limit.Lines
}

// CheckQueue returns a *QueueFullError if the lines of a plan exceed a limit, together with
// those that wait.
func (p *Plan) CheckQueue(limit limits.QueueLimit, waiting Queued) error {
	e := &QueueFullError{limit, waiting, Queued{int64(p.Lines), p.Tokens}}
	if e.lines() || limit.Tokens > 0 && e.Tokens+p.Tokens > limit.Tokens {
		return e
	}
	return nil
}
