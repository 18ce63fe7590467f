package upstreams

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/tidegate/tidegate/internal/descriptors"
)

// Errors of Pool.Reserve, Drain and Undrain.
var (
	ErrBusy         = errors.New("every upstream of the model is at its limit")
	ErrDown         = errors.New("every upstream of the model is down")
	ErrUnknownModel = errors.New("no upstream has the model")
	// ErrAway is returned instead of ErrDown, which it wraps, if all these upstreams
	// are StateAway.
	ErrAway = fmt.Errorf("%w: all are away and may be", ErrDown)
	// ErrLoading is returned instead of ErrDown, which it wraps, if one of these
	// upstreams is StateLoading.
	ErrLoading    = fmt.Errorf("%w: at least one is loading", ErrDown)
	ErrTrial      = errors.New("the upstreams of the model are suspect; a trial request is allowed")
	ErrNoUpstream = errors.New("upstream not found in the pool")
)

// SuspectError reports that every upstream of a model is suspect. It wraps ErrDown.
type SuspectError struct {
	Reason string // of one of them
}

func (e *SuspectError) Error() string {
	return "every upstream of the model is suspect: " + e.Reason
}

// Unwrap returns ErrDown.
func (e *SuspectError) Unwrap() error { return ErrDown }

// SendError reports that a batch line got no usable answer.
type SendError struct {
	// Sent is false if no part of the request can have reached the upstream.
	Sent bool
	// Crashed is true if the connection broke and the upstream was then found down:
	// the request may have crashed it.
	Crashed bool
	// TooLarge is true if the answer exceeded Config.MaxAnswer.
	TooLarge bool
	// Unreadable is true if the answer has a content coding that cannot be decoded.
	Unreadable bool
	Err        error
}

// Error describes the failure in a form that may be shown to clients: it contains no
// addresses of the pool. Unwrap returns the details.
func (e *SendError) Error() string { return describe(e.Err) }

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

var (
	// errHung is the cause of cancelling a request on an upstream that hangs.
	errHung = errors.New("the upstream hangs")
	// errSilent is the cause of aborting a stream after Config.StreamIdleTimeout.
	errSilent = errors.New("the stream was silent for too long")
	// errSlowError is the cause of giving up on the body of an error response.
	errSlowError = errors.New("the body of the error response did not arrive in time")
)

// refused reports whether err means that nothing listens at the address, as reported
// by the host or the network. Unlike a timeout, a resolver failure or a local
// shortage of descriptors, it is conclusive.
func refused(err error) bool {
	for _, no := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// unresolved reports whether err means that the host's name does not exist.
func unresolved(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

// timedOut reports whether err is a timeout.
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

// describe returns a description of err that contains no addresses.
func describe(err error) string {
	if resource, _ := descriptors.Shortage(err); resource != "" {
		return "the gateway is out of " + resource
	}
	if coding, ok := errors.AsType[*codingError](err); ok {
		return coding.Error()
	}
	switch {
	case isAnswerSize(err), errors.Is(err, errHung), errors.Is(err, errSilent), errors.Is(err, errWithdrawn):
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
