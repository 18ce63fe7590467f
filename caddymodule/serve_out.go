package caddymodule

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// When a server stops, two things would lose requests that clients have sent:
//
//   - Closing a socket resets the connections that were not accepted yet.
//   - http.Server.Shutdown drops each request whose handler has not begun.
//
// So sockets that no newer configuration listens on are closed before Caddy stops its
// apps, in steps: no connection is established any more, those in the queue are
// accepted, the socket is closed, and each connection on which a request is on its
// way is given time until a handler has the request. Only then Caddy calls Shutdown,
// which waits for handlers.
const (
	// serveOutLimit limits all of it.
	serveOutLimit = 3 * time.Second
	// arrivalLimit limits the time for which a client is silent before and within the
	// header of a request. After it, a connection without a request is closed.
	arrivalLimit = time.Second
	// handshakeTime limits the handshake of clients that were connecting, which takes a
	// round trip. Others are refused meanwhile.
	handshakeTime = 50 * time.Millisecond
	// serveOutPoll is the polling interval of the state. It is not possible to wait for the
	// queue of a socket, or for unread bytes without consuming them.
	serveOutPoll = 2 * time.Millisecond
)

// servesOut handles Caddy's event "stopping", which precedes the Stop of all apps.
// Caddy logs handlers: the app is in no exported field.
type servesOut struct {
	app *App
	ctx caddy.Context
}

// onStop subscribes to the end of the configuration that ctx provisions.
func (a *App) onStop(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	return app.(*caddyevents.App).On("stopping", servesOut{a, ctx})
}

// Handle implements caddyevents.Handler.
func (s servesOut) Handle(context.Context, caddy.Event) error {
	web := s.app.web(s.ctx)
	delay, grace := time.Duration(web.ShutdownDelay), time.Duration(web.GracePeriod)
	if delay == 0 { // otherwise Caddy accepts connections during the delay
		s.app.serveOut()
	}
	if grace > 0 && caddy.Exiting() {
		time.AfterFunc(delay+grace-min(grace/4, cutAhead), s.app.pool.CutLive)
	}
	return nil
}

// cutAhead is the time before the end of the grace period at which live requests are ended
// at the latest: Caddy ends the process then, and their last bytes must be sent before.
const cutAhead = time.Second

// web returns the http app of the configuration, an empty one if there is none.
func (a *App) web(ctx caddy.Context) *caddyhttp.App {
	if app, err := ctx.AppIfConfigured("http"); err == nil {
		return app.(*caddyhttp.App)
	}
	return new(caddyhttp.App)
}

// serveOut closes the sockets that only this configuration listens on.
func (a *App) serveOut() {
	var all []*socket
	sockets.Lock()
	for server := range a.watched {
		for _, text := range server.Listen {
			at, err := caddy.ParseNetworkAddress(text)
			if err != nil || at.Network != keptNetwork {
				continue
			}
			for offset := range at.PortRangeSize() {
				s := sockets.open[socketKey(at, offset)]
				if s != nil && len(s.listeners) == 1 && !slices.Contains(all, s) {
					s.forget()
					all = append(all, s)
				}
			}
		}
	}
	sockets.Unlock()
	var stopping sync.WaitGroup
	for _, s := range all {
		stopping.Go(s.serveOut)
	}
	stopping.Wait()
}

// serveOut closes the socket and returns when no request is on its way to a handler.
func (s *socket) serveOut() {
	limit := time.Now().Add(serveOutLimit)
	s.stopping.Store(true)
	s.emptyQueue(limit)
	_ = s.shut() // connections are served in any case
	select {
	case <-s.accepted: // every accepted connection is in conns
	case <-time.After(time.Until(limit)):
	}
	for s.arriving() && time.Now().Before(limit) {
		time.Sleep(serveOutPoll)
	}
}

// emptyQueue prevents new connections and returns when the established ones were
// accepted.
func (s *socket) emptyQueue(limit time.Time) {
	if s.raw == nil {
		return
	}
	makeUnreachable(s.raw)
	for earliest := time.Now().Add(handshakeTime); ; time.Sleep(serveOutPoll) {
		now := time.Now()
		if !now.Before(limit) || !now.Before(earliest) && queueLength(s.raw) == 0 {
			return
		}
	}
}

// newConn returns the connection of a client, which is tracked until its end.
func (s *socket) newConn(tcp *net.TCPConn) *clientConn {
	c := &clientConn{TCPConn: tcp, socket: s, since: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return c
}

func (s *socket) dropConn(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// arriving closes the connections on which no request is on its way, and reports
// whether there are others whose request has no handler yet.
func (s *socket) arriving() bool {
	s.mu.Lock()
	all := make([]*clientConn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	found, now := false, time.Now()
	for _, c := range all {
		found = c.arriving(now) || found
	}
	return found
}

// arriving reports whether a request is on its way that no handler has yet. If not,
// and no handler has an earlier one, it closes the connection.
func (c *clientConn) arriving(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := now.Sub(c.since) >= arrivalLimit
	switch {
	case c.gone, c.failed, c.upgraded, c.taken:
		return false
	case c.wrote && !c.secure: // another module's handler answers
		return false
	case pending(c.TCPConn):
		return true
	case c.began, len(c.unanswered) > 0, c.long:
		return !silent
	case !c.served:
		if silent && !c.heard {
			_ = c.end()
		}
		return !silent
	case c.idle && c.watched && !c.pinned:
		// net/http closes the others in the way of their protocol.
		_ = c.end()
	}
	return false
}
