// Package descriptors keeps a part of the file descriptors that the process may
// have for what must go on when they run out: probes of servers, the store,
// files.
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

// Reserve returns how many descriptors of a limit connections of clients, live
// requests and batch lines leave to the rest.
func Reserve(limit int64) int64 {
	return min(max(limit/8, 32), 256, limit/2)
}

// Room reports whether there are descriptors left beyond the reserve.
func Room() bool { return left(taking.Load()) > 0 }

// left is how many descriptors are left beyond the reserve, besides those that
// are about to be taken.
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

// OnShortage has f called when there is no room: it gives up a descriptor that is
// not in use at present, and reports whether there was one. A later call
// replaces f.
func OnShortage(f func() bool) {
	yieldMu.Lock()
	defer yieldMu.Unlock()
	yield = f
}

// taking counts connections that Take let begin and that have no descriptor
// yet.
var taking atomic.Int64

// Take reports whether a connection may be begun that takes one more descriptor:
// there is room, or room is made. If so, taken is to be called when it has its
// descriptor, or will have none.
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

// Shortage names what this process or machine has run out of, by an error of
// connecting, and the remedy. Both are "" for errors of other kinds, such as
// those that a server causes.
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

// hasSource reports whether this machine has an address from which the one that
// err names can be reached. Without one, as where there is no IPv6, EADDRNOTAVAIL
// is not about ports. Connecting a UDP socket sends nothing.
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
	_ = conn.Close() // nothing was sent
	return true
}

// Remedy says how to allow more descriptors.
const Remedy = "Raise the limit: ulimit -n, LimitNOFILE= in a systemd unit, or nofile in Docker's ulimits."

var shortages = []struct {
	resource, remedy string
	errs             []error
}{
	{"file descriptors", Remedy, []error{syscall.EMFILE, ErrReserved}},
	{"file descriptors of the machine", "Raise fs.file-max (sysctl), or end the program that has so many files open.", []error{syscall.ENFILE}},
	{"memory for sockets", "Give the machine or the container more memory, or raise net.ipv4.tcp_mem (sysctl).", []error{syscall.ENOBUFS, syscall.ENOMEM}},
}
