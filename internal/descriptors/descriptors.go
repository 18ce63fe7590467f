// Package descriptors reserves a part of the process's file descriptors for operations
// that must work when descriptors run out: probes of servers, the store, files.
package descriptors

import (
	"errors"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Reserve returns the number of descriptors that client connections, live requests and
// batch lines must leave free.
func Reserve(limit int64) int64 {
	return min(max(limit/8, 32), 256, limit/2)
}

// Room reports whether there are descriptors left beyond the reserve.
func Room() bool { return left(taking.Load()) > 0 }

// left returns the number of free descriptors beyond the reserve, minus those that are
// about to be used.
func left(taking int64) int64 {
	open, limit := Count()
	if limit == 0 {
		return math.MaxInt64
	}
	return limit - Reserve(limit) - open - taking
}

// Scarce reports whether the reserve is half used up.
func Scarce() bool {
	open, limit := Count()
	return limit != 0 && open >= limit-Reserve(limit)/2
}

// yield closes unused descriptors; guarded by yieldMu.
var (
	yieldMu sync.Mutex
	yield   func() bool
)

// OnShortage sets the function that is called when there is no room. f releases an idle
// descriptor and reports whether there was one. A later call replaces f.
func OnShortage(f func() bool) {
	yieldMu.Lock()
	defer yieldMu.Unlock()
	yield = f
}

// taking counts connections that Take let begin and that have no descriptor
// yet.
var taking atomic.Int64

// Take reports whether a connection that needs one more descriptor may be opened: there is
// room, or OnShortage's function made room. If so, the caller must call taken when the
// connection has its descriptor, or has failed.
func Take() (taken func(), ok bool) {
	n := taking.Add(1)
	taken = func() { taking.Add(-1) }
	if left(n-1) > 0 {
		return taken, true
	}
	yieldMu.Lock()
	f := yield
	yieldMu.Unlock()
	if f != nil && f() {
		return taken, true
	}
	taken()
	return nil, false
}

// ErrReserved reports that only the reserve of descriptors is left.
var ErrReserved = errors.New("only the reserve of file descriptors is left")

// Shortage returns the resource that this process or machine has run out of, from an error
// of connecting, and the remedy. Both are "" for other errors, such as those of a server.
func Shortage(err error) (resource, remedy string) {
	if errors.Is(err, syscall.EADDRNOTAVAIL) && hasSource(err) {
		return "local ports", "Widen net.ipv4.ip_local_port_range (sysctl), or put fewer short connections on one server: local ports stay taken for a minute after each."
	}
	for _, s := range shortages {
		for _, code := range s.errs {
			if errors.Is(err, code) {
				return s.resource, s.remedy
			}
			// Errors of the resolver keep the text alone.
			if dns, ok := errors.AsType[*net.DNSError](err); ok && strings.Contains(dns.Err, code.Error()) {
				return s.resource, s.remedy
			}
		}
	}
	return "", ""
}

// hasSource reports whether this machine has a source address for the address in err.
// Without one, for example without IPv6, EADDRNOTAVAIL is not a shortage of ports.
// Connecting a UDP socket sends no packet.
func hasSource(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok {
		return false
	}
	to, ok := op.Addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: to.IP, Port: to.Port, Zone: to.Zone})
	if err != nil {
		return false
	}
	_ = conn.Close() // no packet was sent
	return true
}

// Remedy describes how to allow more descriptors.
const Remedy = "Raise the limit: ulimit -n, LimitNOFILE= in a systemd unit, or nofile in Docker's ulimits."

var shortages = []struct {
	resource, remedy string
	errs             []error
}{
	{"file descriptors", Remedy, []error{syscall.EMFILE, ErrReserved}},
	{"file descriptors of the machine", "Raise fs.file-max (sysctl), or end the program that has so many files open.", []error{syscall.ENFILE}},
	{"memory for sockets", "Give the machine or the container more memory, or raise net.ipv4.tcp_mem (sysctl).", []error{syscall.ENOBUFS, syscall.ENOMEM}},
}
