package batch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Errors of Dispatcher.Reserve.
var (
	ErrBusy         = errors.New("every upstream of the model is full")
	ErrDown         = errors.New("every upstream of the model is down")
	ErrUnknownModel = errors.New("no upstream serves the model")
	// ErrAway is returned instead of ErrDown, which it wraps, if all these upstreams may
	// be stopped: a model that waits for them is no problem.
	ErrAway = fmt.Errorf("%w: all are stopped and may be", ErrDown)
	// ErrLoading is returned instead of ErrDown, which it wraps, if one of these
	// upstreams is loading.
	ErrLoading = fmt.Errorf("%w: at least one is loading", ErrDown)
	// ErrTrial is returned by Up alone.
	ErrTrial = errors.New("the upstreams of the model are suspect; a request is tried")
)

// Dispatcher sends lines to upstreams. Methods are safe for concurrent use.
type Dispatcher interface {
	// Reserve returns a slot for one request, or ErrBusy, ErrDown or ErrUnknownModel if
	// none is free now. It prefers upstreams other than avoid ("" for none). fit, unless
	// nil, reports whether an upstream may be used; it must not block.
	Reserve(model, avoid string, fit func(upstream string) bool) (Slot, error)
	// Up returns nil if a model has an upstream, even a full one, and otherwise ErrDown
	// or ErrUnknownModel. It returns ErrTrial while all are suspect and Reserve would
	// send a line to one of them as a trial.
	Up(model string) error
	// Free reports whether Reserve would return a slot for a model now.
	Free(model string) bool
	// Slots returns the maximum number of lines of this gateway in flight on all
	// upstreams, including those that are down. It changes with the configuration of
	// the pool and with the number of gateways that share it.
	Slots() int
	// Freed delivers a value when a Reserve that failed may succeed.
	Freed() <-chan struct{}
	// Serves reports whether a model is known. Discovered reports whether the models of
	// every upstream are known, so that an unknown model does not exist.
	Serves(model string) (known, discovered bool)
	// Closest returns the known models whose names are most similar.
	Closest(model string) []string
	// Capabilities returns the optional features.
	Capabilities() DispatcherCapabilities
}

// Slot is the right to send one request to one upstream.
type Slot interface {
	// Upstream returns the name of the upstream.
	Upstream() string
	// Send posts body to path unchanged and reads the complete answer. ctx has the identity
	// of the client that made the batch, with KeyID and Tenant (access.From). An error is a
	// *SendError or that of the context.
	Send(ctx context.Context, path string, body []byte) (Answer, error)
	// Release frees the slot. It must be called once.
	Release()
}

// Answer is the answer of an upstream.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	RequestID string // of the upstream; "" for none
	Next      Next
	Reason    string // why it is not final
}

// Next is the next step for a line after an answer. The Dispatcher decides it.
type Next uint8

const (
	// Final makes the answer the result of the line.
	Final Next = iota
	// Again sends the line again and costs a retry. The error may be temporary, and may
	// be caused by the line.
	Again
	// Elsewhere sends the line again without limit: the upstream caused the error.
	Elsewhere
)

// SendError reports a request without an answer.
type SendError struct {
	// Sent reports whether the upstream may have received a part of the request. It is
	// false for a refused connection or an unresolved name.
	Sent bool
	// Crashed reports whether the upstream broke the connection and was down right
	// after it: the request may be the cause.
	Crashed bool
	// TooLarge reports whether the answer was larger than the limit.
	TooLarge bool
	// Unreadable reports whether the answer cannot be decoded, which no retry changes.
	Unreadable bool
	Err        error
}

func (e *SendError) Error() string { return e.Err.Error() }
func (e *SendError) Unwrap() error { return e.Err }

// Closing is a time without batch work.
type Closing struct {
	Until time.Time // zero: for good
}

// String returns why batches wait.
func (c Closing) String() string {
	switch {
	case c.Until.IsZero():
		return "outside of its hours, which never come"
	case time.Until(c.Until) < 24*time.Hour:
		return "outside of its hours until " + c.Until.Format("15:04 MST")
	default:
		return "outside of its hours until " + c.Until.Format("Mon 2006-01-02 15:04 MST")
	}
}
