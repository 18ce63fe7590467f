package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// addresses are the listen addresses that this process has claimed.
var addresses = addressClaims{claim: claimAddress, list: claimedAddresses, held: make(map[string]*heldAddress)}

// addressClaims prevents two gateways from listening on the same address. Caddy
// listens with SO_REUSEPORT, so that the kernel would split the connections between
// them.
type addressClaims struct {
	claim func(address string) (io.Closer, error)
	list  func() ([]string, error) // the claims of all processes

	mu   sync.Mutex
	held map[string]*heldAddress // guarded by mu
}

// heldAddress is a claim and the number of configurations of this process that use
// it: at a reload the new configuration starts before the old one stops.
type heldAddress struct {
	claim io.Closer
	users int
}

// errAddressClaimed reports that another process has claimed the address.
var errAddressClaimed = errors.New("another Tidegate gateway listens on this address: stop it, or listen on another one")

// acquire claims all addresses or none.
func (c *addressClaims) acquire(all []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, address := range all {
		if held := c.held[address]; held != nil {
			held.users++
			continue
		}
		claim, err := c.claim(address)
		if err == nil {
			// Two processes that start at the same time see each other's claim.
			if err = c.alone(address); err != nil {
				err = errors.Join(err, claim.Close())
			}
		}
		if err != nil {
			return errors.Join(fmt.Errorf("listening on %s: %w", address, err), c.drop(all[:i]))
		}
		c.held[address] = &heldAddress{claim: claim, users: 1}
	}
	return nil
}

// alone returns an error if another process has claimed an address with the same port
// that receives connections of this one. The caller holds mu.
func (c *addressClaims) alone(address string) error {
	claimed, err := c.list()
	if err != nil {
		return fmt.Errorf("looking for other gateways: %w", err)
	}
	for _, other := range claimed {
		if c.held[other] == nil && other != address && overlap(address, other) {
			return fmt.Errorf("%w (it has %s)", errAddressClaimed, other)
		}
	}
	return nil
}

// overlap reports whether a connection can match both addresses: one is for all
// interfaces, and the ports are the same.
func overlap(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	all := []string{"", "0.0.0.0", "::"}
	return hostA == hostB || slices.Contains(all, hostA) || slices.Contains(all, hostB)
}

// release releases what acquire claimed.
func (c *addressClaims) release(all []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drop(all)
}

// drop implements release. The caller holds mu.
func (c *addressClaims) drop(all []string) error {
	var errs []error
	for _, address := range all {
		held := c.held[address]
		if held == nil {
			continue
		}
		if held.users--; held.users == 0 {
			delete(c.held, address)
			errs = append(errs, held.claim.Close())
		}
	}
	return errors.Join(errs...)
}

// listensOn adds the addresses of the server that ctx provisions to those that the
// app claims when it starts. A port that the kernel chooses is unique, and Unix
// sockets are not shared.
func (a *App) listensOn(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	for _, text := range server.Listen {
		parsed, err := caddy.ParseNetworkAddress(text)
		if err != nil || parsed.IsUnixNetwork() || parsed.IsFdNetwork() {
			continue
		}
		if parsed.Host == "localhost" {
			parsed.Host = "127.0.0.1"
		}
		for _, one := range parsed.Expand() {
			if address := one.JoinHostPort(0); one.StartPort != 0 && !slices.Contains(a.listens, address) {
				a.listens = append(a.listens, address)
			}
		}
	}
}
