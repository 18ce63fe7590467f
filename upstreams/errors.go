package upstreams

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/tidegate/tidegate/internal/descriptors"
)

// Errors of Pool.Reserve, Drain and Undrain.
var (
	ErrBusy         = errors.New("every upstream of the model is full")
	ErrDown         = errors.New("every upstream of the model is down")
	ErrUnknownModel = errors.New("no upstream serves the model")
	ErrTrial        = errors.New("the upstreams of the model are suspect; a request is tried")
	ErrNoUpstream   = errors.New("the pool has no such upstream")
)

// SuspectError reports that every upstream of a model is suspect. It is an
// ErrDown.
type SuspectError struct {
	Reason string // of one of them
}

func (e *SuspectError) Error() string {
	return "every upstream of the model is suspect: " + e.Reason
}

// Unwrap returns ErrDown.
func (e *SuspectError) Unwrap() error { return ErrDown }

// SendError says how a batch line failed without an answer.
type SendError struct {
	// Sent is false when nothing of the request can have reached the upstream.
	Sent bool
	// Crashed is true when the connection broke and the upstream was found gone
	// at once: the request may be what took it down.
	Crashed bool
	// TooLarge is true when the answer was over Config.MaxAnswer.
	TooLarge bool
	// Unreadable is true when the answer is in a content coding that cannot be
	// decoded.
	Unreadable bool
	Err        error
}

// Error says what happened in words that may be shown to clients: addresses of
// the pool are left to Unwrap.
func (e *SendError) Error() string { return describe(e.Err) }

// Unwrap gives the cause.
func (e *SendError) Unwrap() error { return e.Err }

var (
	// errHung is why a request is taken off an upstream that does nothing.
	errHung = errors.New("the upstream hangs")
	// errSilent is why a stream is ended after Config.StreamIdleTimeout.
	errSilent = errors.New("the stream was silent for too long")
	// errSlowError is why the body of an error is not waited for any longer.
	errSlowError = errors.New("the body of an error did not come")
)

// refused tells whether err is the answer of a machine or of the network on the
// way that nobody is there: unlike a timeout, a resolver's failure or a lack of
// descriptors here, it leaves no doubt.
func refused(err error) bool {
	for _, no := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// timedOut tells whether err is that something took too long.
func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func isAnswerSize(err error) bool {
	_, ok := errors.AsType[*answerSizeError](err)
	return ok
}

// describe puts err into words without addresses.
func describe(err error) string {
	if resource, _ := descriptors.Shortage(err); resource != "" {
		return "the gateway is out of " + resource
	}
	if coding, ok := errors.AsType[*codingError](err); ok {
		return coding.Error()
	}
	switch {
	case isAnswerSize(err), errors.Is(err, errHung), errors.Is(err, errSilent):
		return err.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case refused(err) || broken(err):
		return "the connection broke"
	case timedOut(err):
		return "connecting took too long"
	}
	return "the exchange failed"
}
