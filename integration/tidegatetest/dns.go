package tidegatetest

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS answers every question for an IPv4 address with the same list, as Docker's
// does for a service with several containers.
type DNS struct {
	Addr string // host:port, UDP

	addresses atomic.Pointer[[]netip.Addr]
}

// StartDNS starts a DNS server without addresses.
func StartDNS(tb testing.TB) *DNS {
	tb.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	d := &DNS{Addr: conn.LocalAddr().String()}
	d.Set()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.serve(conn)
	}()
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Error(err)
		}
		<-ended
	})
	return d
}

// Set replaces the addresses.
func (d *DNS) Set(addresses ...netip.Addr) { d.addresses.Store(&addresses) }

// serve answers until conn is closed.
func (d *DNS) serve(conn net.PacketConn) {
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(packet)
		if err != nil {
			return
		}
		if answer, err := d.answer(packet[:n]); err == nil {
			_, _ = conn.WriteTo(answer, from) // the resolver retries
		}
	}
}

func (d *DNS) answer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	addresses := *d.addresses.Load()
	if len(addresses) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, q := range m.Questions {
		if q.Type != dnsmessage.TypeA {
			continue
		}
		for _, a := range addresses {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: a.As4()},
			})
		}
	}
	return m.Pack()
}
