package webhook

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
)

// notPublic are the ranges that are not addresses of servers in the internet, besides those
// that netip.Addr recognizes
// (https://www.iana.org/assignments/iana-ipv4-special-registry,
// https://www.iana.org/assignments/iana-ipv6-special-registry).
var notPublic = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10",
)

// Prefixes of IPv6 addresses that contain an IPv4 address.
var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // in the last 4 bytes
	sixTo4 = netip.MustParsePrefix("2002::/16")    // in the 4 bytes that follow
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// isPublic reports whether an address may belong to a server in the internet.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	switch b := a.As16(); {
	case nat64.Contains(a):
		return isPublic(v4(b[12:]))
	case sixTo4.Contains(a):
		return isPublic(v4(b[2:6]))
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

func v4(b []byte) netip.Addr {
	var four [4]byte
	binary.BigEndian.PutUint32(four[:], binary.BigEndian.Uint32(b))
	return netip.AddrFrom4(four)
}

// addressError reports an address that webhooks are not sent to.
type addressError struct{ address netip.Addr }

func (e *addressError) Error() string {
	return fmt.Sprintf("%s is no public address; allow_private of the webhook permits it", e.address)
}

// onlyPublic is the control function of a dialer. It is called with each address that a name
// resolved to, immediately before the connection, so that a name cannot resolve to another
// address after the check.
func onlyPublic(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading address: %w", err)
	}
	if !isPublic(to.Addr()) {
		return &addressError{to.Addr().Unmap()}
	}
	return nil
}
