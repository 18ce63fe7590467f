package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	// retries is the number of retries of a request.
	retries = 4
	// maxRetryAfter is the longest Retry-After that is obeyed. A longer one is
	// reported as an error.
	maxRetryAfter = time.Minute
)

// retry calls attempt until it succeeds, fails permanently, or retries are used up.
func (c *Client) retry(ctx context.Context, attempt func() error) error {
	for n := 0; ; n++ {
		err := attempt()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		after, again := again(err)
		if !again || n == retries {
			return c.explain(err)
		}
		if err := sleep(ctx, max(c.pause()<<n, after)); err != nil {
			return err
		}
	}
}

func (c *Client) pause() time.Duration {
	if c.Pause == 0 {
		return 500 * time.Millisecond
	}
	return c.Pause
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// again reports whether a request that failed with err is retried, and the minimum
// delay.
func again(err error) (after time.Duration, yes bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.retryAfter, e.mayPass() && e.retryAfter <= maxRetryAfter
	}
	if _, final := errors.AsType[*finalError](err); final {
		return 0, false
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return 0, false
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	return 0, !untrusted && !noTLS && !errors.Is(err, http.ErrSchemeMismatch) && !errors.Is(err, syscall.ECONNREFUSED)
}

// explain distinguishes an error response, an error on the client's side, and an
// unreachable gateway.
func (c *Client) explain(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if final, ok := errors.AsType[*finalError](err); ok {
		return final.err
	}
	return &UnreachableError{Server: c.Server, Err: err}
}
