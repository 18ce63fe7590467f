package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// keptNetwork is the name of the network whose listeners outlive a reload. Caddy
// opens a new socket for each configuration (SO_REUSEPORT) and closes the previous
// one, which resets connections that were not accepted yet.
const keptNetwork = "tidegate"

func init() {
	caddy.RegisterNetwork(keptNetwork, listenKept)
	caddyhttp.RegisterNetworkHTTP3(keptNetwork, "udp")
}

// keepListeners makes a server that is being provisioned listen on keptNetwork
// instead of TCP.
func keepListeners(server *caddyhttp.Server) {
	for i, text := range server.Listen {
		at, err := caddy.ParseNetworkAddress(text)
		if err != nil || at.Network != "tcp" || at.StartPort == 0 {
			continue // Caddy reports the error; the kernel chooses another port for each server
		}
		at.Network = keptNetwork
		server.Listen[i] = at.String()
	}
}

// sockets are the open listeners of keptNetwork by address.
var sockets = struct {
	sync.Mutex
	open map[string]*socket // guarded by Mutex
}{open: make(map[string]*socket)}

// listenKept opens a listener, or joins the open one on the address.
func listenKept(ctx context.Context, _, host, ports string, offset uint, cfg net.ListenConfig) (any, error) {
	at, err := caddy.ParseNetworkAddress(caddy.JoinNetworkAddress("tcp", host, ports))
	if err != nil {
		return nil, fmt.Errorf("parsing address: %w", err)
	}
	key := socketKey(at, offset)
	sockets.Lock()
	defer sockets.Unlock()
	s := sockets.open[key]
	if s == nil {
		s = newSocket(key)
		cfg.Control = func(_, _ string, raw syscall.RawConn) error {
			s.raw = raw
			return nil
		}
		opened, err := at.Listen(ctx, offset, cfg)
		if err != nil {
			return nil, err
		}
		ln, ok := opened.(net.Listener)
		if !ok {
			return nil, fmt.Errorf("%s does not accept connections", key)
		}
		s.Listener = ln
		sockets.open[key] = s
		go s.accept()
	}
	l := &listener{socket: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	s.listeners = append(s.listeners, l)
	return l, nil
}

// socketKey returns the key of an address in sockets.
func socketKey(at caddy.NetworkAddress, offset uint) string {
	return net.JoinHostPort(at.Host, strconv.FormatUint(uint64(at.StartPort+offset), 10))
}

// socket accepts connections for the listeners of all configurations in force.
type socket struct {
	net.Listener
	key      string
	raw      syscall.RawConn // of the Listener
	done     chan struct{}   // closed with the last listener
	accepted chan struct{}   // closed when accept has returned
	stopping atomic.Bool     // see serveOut
	shutOnce sync.Once

	listeners []*listener // guarded by sockets; the newest last

	mu    sync.Mutex
	conns map[*clientConn]struct{} // guarded by mu; the open connections
}

func newSocket(key string) *socket {
	return &socket{key: key, done: make(chan struct{}), accepted: make(chan struct{}), conns: make(map[*clientConn]struct{})}
}

// acceptRetry limits the backoff after a temporary error of accepting, such as a lack
// of file descriptors.
const acceptRetry = time.Second

// accept passes connections to the newest listener until the last one is closed.
func (s *socket) accept() {
	defer close(s.accepted)
	pause := 5 * time.Millisecond
	for {
		conn, err := s.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			if tcp, ok := conn.(*net.TCPConn); ok {
				conn = s.newConn(tcp)
			}
			s.deliver(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return
		}
		caddy.Log().Named("tidegate").Error("accepting connections", zap.String("address", s.key), zap.Error(err), zap.Duration("retry_after", pause))
		timer := time.NewTimer(pause)
		select {
		case <-s.done:
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, acceptRetry)
	}
}

// newest returns the listener that gets connections, nil when all are closed.
func (s *socket) newest() *listener {
	sockets.Lock()
	defer sockets.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[len(s.listeners)-1]
}

// deliver passes a connection to the newest listener, or closes it if there is none.
func (s *socket) deliver(conn net.Conn) {
	for l := s.newest(); l != nil; l = s.newest() {
		if own, ok := conn.(*clientConn); ok {
			own.listener = l
		}
		select {
		case l.conns <- conn:
			return
		case <-l.closed:
		}
	}
	_ = conn.Close() // no server is left
}

// leave removes a closed listener from the socket, which is closed after the last
// one.
func (s *socket) leave(l *listener) error {
	sockets.Lock()
	defer sockets.Unlock()
	for i, other := range s.listeners {
		if other == l {
			s.listeners = append(s.listeners[:i:i], s.listeners[i+1:]...)
			break
		}
	}
	if len(s.listeners) > 0 {
		return nil
	}
	s.forget()
	close(s.done)
	return s.shut()
}

// forget makes the next configuration open a socket of its own. The caller holds
// sockets.
func (s *socket) forget() {
	if sockets.open[s.key] == s {
		delete(sockets.open, s.key)
	}
}

// shut closes the socket, once.
func (s *socket) shut() (err error) {
	s.shutOnce.Do(func() { err = s.Close() })
	return err
}

// listener is the listener of one configuration on a socket.
type listener struct {
	socket *socket
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, fmt.Errorf("accepting on %s: %w", l.socket.key, net.ErrClosed)
	}
}

// Close ends this listener. New connections go to the next one.
func (l *listener) Close() error {
	err := error(nil)
	l.once.Do(func() {
		close(l.closed)
		err = l.socket.leave(l)
	})
	return err
}

// Addr returns the address of the socket.
func (l *listener) Addr() net.Addr { return l.socket.Addr() }
