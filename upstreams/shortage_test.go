package upstreams

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/descriptors"
)

// What the gateway has run out of says nothing about servers: they keep their
// state, live requests get 503 with the reason, lines are not charged.
func TestOwnShortage(t *testing.T) {
	for name, cause := range map[string]error{
		"descriptors":          os.NewSyscallError("socket", syscall.EMFILE),
		"machine's":            os.NewSyscallError("socket", syscall.ENFILE),
		"ports":                os.NewSyscallError("connect", syscall.EADDRNOTAVAIL),
		"buffers":              os.NewSyscallError("connect", syscall.ENOBUFS),
		"memory":               os.NewSyscallError("socket", syscall.ENOMEM),
		"the reserve":          descriptors.ErrReserved,
		"looking up addresses": &net.DNSError{Err: "dial udp: socket: " + syscall.EMFILE.Error(), Name: "gpu"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			var short atomic.Bool
			var failed atomic.Int64
			var dialer net.Dialer
			p := newPool(zap.NewNop(), func(ctx context.Context, network, addr string) (net.Conn, error) {
				if !short.Load() {
					return dialer.DialContext(ctx, network, addr)
				}
				failed.Add(1)
				return nil, &net.OpError{Op: "dial", Net: network, Addr: f.Listener.Addr(), Err: cause}
			})
			if err := p.Apply(quick(f.URL)); err != nil {
				t.Fatal(err)
			}
			p.Start()
			t.Cleanup(p.Close)
			until(t, "the upstream is up", func() bool { return count(p, StateUp) == 1 })
			since := p.Status()[0].Since

			short.Store(true)
			p.closeIdle()
			f.CloseClientConnections()
			until(t, "probes fail often enough to matter", func() bool { p.closeIdle(); return failed.Load() > 4 })
			w := httptest.NewRecorder()
			NewProxy(p, zap.NewNop(), nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chatBody(model))))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "The gateway is out of ") {
				t.Errorf("live: got %d %v %s, want 503 that says what the gateway is out of", w.Code, w.Header(), w.Body)
			}
			slot, err := p.Reserve(model, "")
			if err != nil {
				t.Fatal(err)
			}
			_, err = slot.Send(t.Context(), "/v1/chat/completions", []byte(chatBody(model)))
			slot.Release()
			if send, ok := errors.AsType[*SendError](err); !ok || send.Sent || send.Crashed || !strings.Contains(send.Error(), "the gateway is out of ") {
				t.Errorf("batch: got %v, want a failure before anything was sent", err)
			}
			if s := p.Status()[0]; s.State != StateUp || !s.Since.Equal(since) || s.Failures != 0 {
				t.Errorf("the upstream is %+v, want it as it was", s)
			}
			if s := p.Shortage(); s == nil || s.Count < 2 || s.Remedy == "" || s.Since.IsZero() {
				t.Errorf("the shortage is %+v, want one with its count and a remedy", s)
			}

			short.Store(false)
			serves(t, p)
		})
	}
}

// An address that cannot be reached from here at all is no shortage of ports.
func TestNoAddressIsNoShortage(t *testing.T) {
	err := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "nowhere"}, Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)}
	if resource, _ := descriptors.Shortage(err); resource != "" {
		t.Errorf("got %q, want no shortage", resource)
	}
	for _, other := range []error{syscall.ECONNREFUSED, syscall.ETIMEDOUT, context.DeadlineExceeded, &net.DNSError{Err: "no such host"}} {
		if resource, _ := descriptors.Shortage(other); resource != "" {
			t.Errorf("%v: got %q, want no shortage", other, resource)
		}
	}
}

// Only requests of the gateway's own may use the reserve.
func TestReserveOfDescriptors(t *testing.T) {
	f := newFake(t)
	p := newPool(zap.NewNop(), nil)
	var room atomic.Bool
	p.takeDescriptor = func() (func(), bool) { return func() {}, room.Load() }
	if err := p.Apply(quick(f.URL)); err != nil {
		t.Fatal(err)
	}
	p.Start()
	t.Cleanup(p.Close)
	until(t, "the upstream is up", func() bool { return count(p, StateUp) == 1 })
	ask := func() int {
		p.closeIdle()
		w := httptest.NewRecorder()
		NewProxy(p, zap.NewNop(), nil).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(chatBody(model))))
		return w.Code
	}
	// A connection that a probe left may serve.
	until(t, "a live request is refused", func() bool { return ask() == http.StatusServiceUnavailable })
	if s := p.Status()[0]; s.State != StateUp {
		t.Errorf("the upstream is %s, want up", s.State)
	}
	room.Store(true)
	if got := ask(); got != http.StatusOK {
		t.Errorf("got %d, want 200", got)
	}
}
