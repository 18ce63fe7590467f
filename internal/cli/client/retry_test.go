package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// transport plays a gateway without a connection, so that time can be played
// too.
type transport func(n int, r *http.Request) (*http.Response, error)

type counted struct {
	n    int
	play transport
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n++
	return c.play(c.n, r)
}

func answered(status int, body string, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{Status: http.StatusText(status), StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func TestRetries(t *testing.T) {
	ok := func(r *http.Request) (*http.Response, error) {
		a := answered(200, aBatch)
		a.Request = r
		return a, nil
	}
	status := func(code int, header ...string) transport {
		return func(int, *http.Request) (*http.Response, error) { return answered(code, "", header...), nil }
	}
	fails := func(err error) transport {
		return func(int, *http.Request) (*http.Response, error) { return nil, err }
	}
	tests := map[string]struct {
		play  transport // until it is ok
		okAt  int       // number of the request, 0: never
		tries int
		took  time.Duration
		err   string
	}{
		"at once":                 {okAt: 1, tries: 1},
		"503 once":                {play: status(503), okAt: 2, tries: 2, took: 500 * time.Millisecond},
		"503 to the end":          {play: status(503), tries: 5, took: 7500 * time.Millisecond, err: "503"},
		"500":                     {play: status(500), okAt: 3, tries: 3, took: 1500 * time.Millisecond},
		"429 with Retry-After":    {play: status(429, "Retry-After", "7"), okAt: 3, tries: 3, took: 14 * time.Second},
		"Retry-After that is low": {play: status(429, "Retry-After", "0"), okAt: 2, tries: 2, took: 500 * time.Millisecond},
		"Retry-After of a minute": {play: status(503, "Retry-After", "60"), okAt: 2, tries: 2, took: time.Minute},
		"Retry-After of a day":    {play: status(503, "Retry-After", "86400"), tries: 1, err: "again in 24h0m0s"},
		"Retry-After of nonsense": {play: status(503, "Retry-After", "-5"), okAt: 2, tries: 2, took: 500 * time.Millisecond},
		"Retry-After as date": {
			play: func(int, *http.Request) (*http.Response, error) {
				return answered(503, "", "Retry-After", time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat)), nil
			}, okAt: 2, tries: 2, took: 20 * time.Second,
		},
		"no retry wanted":   {play: status(503, "X-Should-Retry", "false"), tries: 1, err: "503"},
		"no retry of a 429": {play: status(429, "X-Should-Retry", "false"), tries: 1, err: "429"},
		"400":               {play: status(400), tries: 1, err: "400"},
		"401":               {play: status(401), tries: 1, err: "401"},
		"404":               {play: status(404), tries: 1, err: "404"},
		"409":               {play: status(409), tries: 1, err: "409"},
		"507":               {play: status(507), tries: 1, err: "507"},
		"501":               {play: status(501), tries: 1, err: "501"},
		"broken":            {play: fails(io.ErrUnexpectedEOF), okAt: 2, tries: 2, took: 500 * time.Millisecond},
		"broken to the end": {play: fails(io.ErrUnexpectedEOF), tries: 5, took: 7500 * time.Millisecond, err: "unexpected EOF"},
		"no such host":      {play: fails(&net.DNSError{Err: "no such host", IsNotFound: true}), tries: 1, err: "no such host"},
		"resolver is away":  {play: fails(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), okAt: 2, tries: 2, took: 500 * time.Millisecond},
		"answer breaks off": {
			play: func(_ int, r *http.Request) (*http.Response, error) {
				a := answered(200, "")
				a.Body, a.Request = io.NopCloser(io.MultiReader(strings.NewReader(aBatch[:9]), brokenReader{})), r
				return a, nil
			}, okAt: 2, tries: 2, took: 500 * time.Millisecond,
		},
		"it hangs": {
			play: func(_ int, r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			},
			okAt: 2, tries: 2, took: time.Minute + 500*time.Millisecond,
		},
		"it hangs for ever": {
			play: func(_ int, r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			},
			tries: 5, took: 5*time.Minute + 7500*time.Millisecond, err: "http://gateway does not answer within 1m0s",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &counted{play: func(n int, r *http.Request) (*http.Response, error) {
					if n == tt.okAt {
						return ok(r)
					}
					return tt.play(n, r)
				}}
				c := &Client{Server: "http://gateway", HTTP: &http.Client{Transport: server}}
				began := time.Now()
				b, err := c.Batch(t.Context(), "batch_1")
				switch {
				case tt.err == "" && (err != nil || b.ID != "batch_1"):
					t.Errorf("got %+v, %v", b, err)
				case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
					t.Errorf("got %v, want %s", err, tt.err)
				}
				if server.n != tt.tries {
					t.Errorf("%d requests, want %d", server.n, tt.tries)
				}
				// A date has seconds only.
				if took := time.Since(began); took > tt.took || took < tt.took-time.Second && !strings.Contains(name, "date") || !strings.Contains(name, "date") && took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
			})
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestInterruptedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		server := &counted{play: func(int, *http.Request) (*http.Response, error) { return answered(503, "", "Retry-After", "30"), nil }}
		c := &Client{Server: "http://gateway", HTTP: &http.Client{Transport: server}}
		began := time.Now()
		if _, err := c.Batch(ctx, "batch_1"); !errors.Is(err, context.DeadlineExceeded) || MayPass(err) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 3*time.Second || server.n != 1 {
			t.Errorf("%d requests in %s", server.n, took)
		}
	})
}
