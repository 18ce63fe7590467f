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

// Dispatcher is what the engine knows of the pool.
type Dispatcher interface {
	// Reserve takes a slot for one request, if there is one now: ErrBusy,
	// ErrDown or ErrUnknownModel otherwise. It prefers another upstream than
	// avoid ("" for none).
	Reserve(model, avoid string) (Slot, error)
	// Up reports whether a model has an upstream, be it full or not: nil,
	// ErrDown or ErrUnknownModel; or ErrTrial while all are suspect for their
	// answers and Reserve would give a line to one of them, to find out.
	Up(model string) error
	// Free tells whether a model has a slot that Reserve would give now.
	Free(model string) bool
	// Slots is how many lines this gateway may have on all upstreams at once,
	// those that are down included. It changes with the pool's configuration
	// and with the number of gateways that share it.
	Slots() int
	// Freed delivers a value after a Reserve that failed might succeed.
	Freed() <-chan struct{}
	// Serves tells whether a model is known and, when it is not, whether every
	// upstream has told its models, so that this can be believed.
	Serves(model string) (known, settled bool)
	// Closest names the known models whose names are closest to that of another.
	Closest(model string) []string
	// Capabilities returns the optional features.
	Capabilities() DispatcherCapabilities
}

// Slot is the right to send one request to one upstream.
type Slot interface {
	// Upstream names the upstream.
	Upstream() string
	// Send posts body to path, byte for byte, and reads the answer whole.
	// An error is a *SendError or the context's.
	Send(ctx context.Context, path string, body []byte) (Answer, error)
	// Release gives the slot back. It is called once.
	Release()
}

// Answer is what an upstream answered.
type Answer struct {
	Status    int
	Header    http.Header
	Body      []byte
	RequestID string // the upstream's, "" when it names none
	Next      Next
	Reason    string // why it is not final
}

// Next is what becomes of a line after an answer. The Dispatcher decides it.
type Next uint8

const (
	// Final is for an answer that is the line's result.
	Final Next = iota
	// Again is for an error that may pass, and may be the line's: it costs a
	// retry.
	Again
	// Elsewhere is for an error of the upstream's own: the line is sent again,
	// however often.
	Elsewhere
)

// SendError says how a request failed without an answer.
type SendError struct {
	// Sent is false when nothing of the request can have reached the
	// upstream (refused, unresolved).
	Sent bool
	// Crashed is true when the upstream broke the connection and was found
	// down at once: the request may be what took it down.
	Crashed bool
	// TooLarge is true when the answer was over the limit.
	TooLarge bool
	// Unreadable is true when the answer cannot be decoded, and never will be.
	Unreadable bool
	Err        error
}

func (e *SendError) Error() string { return e.Err.Error() }
func (e *SendError) Unwrap() error { return e.Err }

// Closing is a time without batch work.
type Closing struct {
	Until time.Time // zero: for good
}

// String says why batches wait.
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
