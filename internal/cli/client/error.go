package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Error is an answer that is no success.
type Error struct {
	Status  int
	Message string // without control characters
	Param   string
	Code    string

	retryAfter time.Duration
	noRetry    bool // x-should-retry: false
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%d)", e.Message, e.Status)
	if e.Param != "" {
		text = fmt.Sprintf("%s (%d, %s)", e.Message, e.Status, e.Param)
	}
	if e.Status == http.StatusUnauthorized {
		text += "; set TIDEGATE_API_KEY or give --api-key"
	}
	if e.retryAfter > maxRetryAfter {
		text += fmt.Sprintf("; it asks to be tried again in %s", e.retryAfter)
	}
	return text
}

// UnreachableError reports that the gateway did not respond.
type UnreachableError struct {
	Server string
	Err    error
}

func (e *UnreachableError) Error() string {
	if errors.Is(e.Err, syscall.ECONNREFUSED) {
		return fmt.Sprintf("no server listens at %s: is the gateway running (tidegate serve --upstream URL), and is --server right?", e.Server)
	}
	return e.Err.Error()
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// finalError is an error on the client's side, for which a retry cannot help.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// MayPass reports whether the same request may succeed later: the gateway could
// not be reached, or could not serve the request now.
func MayPass(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.mayPass()
	}
	_, unreachable := errors.AsType[*UnreachableError](err)
	return unreachable
}

func (e *Error) mayPass() bool {
	switch e.Status {
	case http.StatusTooManyRequests:
		return !e.noRetry
	case http.StatusInsufficientStorage, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	default:
		return e.Status >= 500 && !e.noRetry
	}
}

// readError makes an *Error of an answer.
func readError(answer *http.Response) error {
	e := &Error{Status: answer.StatusCode, noRetry: answer.Header.Get("X-Should-Retry") == "false"}
	e.retryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	if where := answer.Header.Get("Location"); where != "" && answer.StatusCode < 400 {
		e.Message = oneLine("this is not where the gateway is: it redirects to " + where)
		return e
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil && len(text) == 0 {
		e.Message = answer.Status
		return e
	}
	var envelope struct {
		Error struct{ Message, Param, Code string }
	}
	if json.Unmarshal(text, &envelope) == nil && envelope.Error.Message != "" {
		e.Message, e.Param, e.Code = oneLine(envelope.Error.Message), oneLine(envelope.Error.Param), envelope.Error.Code
		return e
	}
	e.Message = answer.Status
	if page := oneLine(string(text)); page != "" {
		e.Message = fmt.Sprintf("%s: %.200s", answer.Status, page)
	}
	return e
}

// oneLine converts text of a server to one printable line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.Join(strings.Fields(s), " "))
}

// retryAfter reads the header: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
