package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// errStalled ends requests without progress.
	errStalled = errors.New("no progress")
	// errBroken is for answers that ended too early.
	errBroken = errors.New("connection broke")
)

// newTransport returns a transport for the configuration.
func newTransport(cfg Config) (*http.Transport, error) {
	roots, err := rootCAs(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: cfg.Timeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: cfg.Timeout,
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     30 * time.Second, // services close idle ones after about a minute
		// Contents are taken as they are stored.
		DisableCompression: true,
	}, nil
}

// rootCAs returns nil, which means the system's, if there is no file.
func rootCAs(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading certificate authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("reading the system's certificate authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading certificate authorities: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// steady ends requests without progress in either direction. Time between reads of a
// response does not count, because the reader causes it.
type steady struct {
	base    http.RoundTripper
	timeout time.Duration
	token   atomic.Pointer[string] // last session token that was sent; nil for none
}

// sessionHeader is the one of a request that holds a secret: other credentials are
// not sent.
const sessionHeader = "X-Amz-Security-Token"

func (s *steady) RoundTrip(req *http.Request) (*http.Response, error) {
	if token := req.Header.Get(sessionHeader); token != "" {
		s.token.Store(&token)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{ctx: ctx, cancel: cancel, timeout: s.timeout}
	w.timer = time.AfterFunc(s.timeout, func() { cancel(fmt.Errorf("%w for %s", errStalled, s.timeout)) })
	out := req.WithContext(ctx)
	var sending *requestBody
	if req.Body != nil && req.Body != http.NoBody {
		sending = &requestBody{src: req.Body, watch: w}
		out.Body = sending
	}
	resp, err := s.base.RoundTrip(out)
	w.timer.Stop()
	if err != nil {
		err = w.explain(err)
		sending.end()
		cancel(nil)
		return nil, err
	}
	resp.Body = &responseBody{src: resp.Body, watch: w, sending: sending}
	return resp, nil
}

// watch is the time that a request has left to move.
type watch struct {
	// ctx is the request's own, ended by cancel.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
}

// explain replaces an error by its cause.
func (w *watch) explain(err error) error {
	if cause := context.Cause(w.ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// requestBody is the body of a request. The transport may continue to read it after the
// response or an error; end stops this, because the buffer is reused.
type requestBody struct {
	watch *watch

	mu    sync.Mutex
	src   io.ReadCloser // guarded by mu
	ended bool          // guarded by mu
}

var errAnswered = errors.New("request has ended")

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, errAnswered
	}
	b.watch.timer.Reset(b.watch.timeout)
	return b.src.Read(p)
}

func (b *requestBody) Close() error {
	b.end()
	return nil
}

func (b *requestBody) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// responseBody is an answer being read.
type responseBody struct {
	src     io.ReadCloser
	watch   *watch
	sending *requestBody // nil if the request has no body
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.watch.timer.Reset(b.watch.timeout)
	n, err := b.src.Read(p)
	b.watch.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBroken, b.watch.explain(err))
	}
	return n, err
}

func (b *responseBody) Close() error {
	b.watch.timer.Stop()
	err := b.src.Close()
	b.sending.end()
	b.watch.cancel(nil)
	return err
}
