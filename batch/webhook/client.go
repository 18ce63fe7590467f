package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// attemptTimeout limits an attempt, from the resolution of the name to the header of
	// the answer.
	attemptTimeout = 15 * time.Second
	connectTimeout = 5 * time.Second
	// maxHeader limits the header of an answer, in bytes. Bodies are not read.
	maxHeader = 64 << 10
)

// newClient returns a client that follows no redirect, uses no proxy and keeps no
// connection. It connects to public addresses only, unless private ones are allowed.
func newClient(allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: connectTimeout}
	if !allowPrivate {
		dialer.ControlContext = onlyPublic
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout, MaxResponseHeaderBytes: maxHeader,
			DisableKeepAlives: true, DisableCompression: true,
		},
	}
}

// answer is the result of an attempt.
type answer struct {
	status     int           // 0 without an answer
	retryAfter time.Duration // as the receiver asked
	err        error         // why the webhook does not count as delivered
}

// errRedirect reports an answer that is a redirect.
var errRedirect = errors.New("the receiver redirects; redirects are not followed, so configure the final address")

// post sends an event. Any status from 200 to 299 means that it was delivered.
func (s *Sender) post(ctx context.Context, to string, e *Endpoint, ev event) answer {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	body, err := ev.body()
	if err != nil {
		return answer{err: err}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Tidegate-Webhooks/1.0")
	sign(r.Header, ev.ID, s.now(), body, e.Secrets)
	client := s.public
	if e.AllowPrivate {
		client = s.private
	}
	response, err := client.Do(r)
	if err != nil {
		return answer{err: withoutURL(err)}
	}
	_ = response.Body.Close() // the body is not read
	a := answer{status: response.StatusCode}
	switch {
	case a.status >= 300 && a.status < 400:
		a.err = errRedirect
	case a.status < 200 || a.status > 299:
		a.err = fmt.Errorf("the receiver answered %d", a.status)
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 && seconds < 1<<20 {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	return a
}

// withoutURL returns an error without the URL that net/http adds, which may contain a
// secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", attemptTimeout)
	}
	return err
}
