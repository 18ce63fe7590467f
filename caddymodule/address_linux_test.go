package caddymodule

import (
	"errors"
	"io"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// otherProcess returns separate claims, like those of a second gateway.
func otherProcess() *addressClaims {
	return &addressClaims{claim: claimAddress, list: claimedAddresses, held: make(map[string]*heldAddress)}
}

// A running gateway keeps another process off its address, over reloads, until it
// stops.
func TestAddressOfRunningGateway(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.load(t)
	other := otherProcess()
	g.app.Pool.HealthFailures = 4
	for range 2 {
		if err := other.acquire([]string{g.addr}); !errors.Is(err, errAddressClaimed) {
			t.Errorf("second gateway on %s: got %v, want %v", g.addr, err, errAddressClaimed)
		}
		g.load(t) // a reload of the same process is not a second gateway
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := other.acquire([]string{g.addr}); err != nil {
		t.Fatalf("after the gateway has stopped: %v", err)
	}
	if err := other.release([]string{g.addr}); err != nil {
		t.Error(err)
	}
}

type closer func() error

func (c closer) Close() error { return c() }

// TestAddressClaims checks that claims are counted, and that the failure of one address
// releases those before it.
func TestAddressClaims(t *testing.T) {
	open := map[string]bool{}
	c := addressClaims{held: make(map[string]*heldAddress), list: func() ([]string, error) { return nil, nil }, claim: func(address string) (io.Closer, error) {
		if address == "taken" {
			return nil, errAddressClaimed
		}
		open[address] = true
		return closer(func() error { delete(open, address); return nil }), nil
	}}
	if err := c.acquire([]string{"a", "taken"}); !errors.Is(err, errAddressClaimed) {
		t.Errorf("got %v, want %v", err, errAddressClaimed)
	}
	if len(open) != 0 {
		t.Errorf("claims after a failure: got %v, want none", open)
	}
	for range 2 {
		if err := c.acquire([]string{"a"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []bool{true, false} {
		if err := c.release([]string{"a"}); err != nil {
			t.Fatal(err)
		}
		if open["a"] != want {
			t.Errorf("claimed: got %v, want %v", open["a"], want)
		}
	}
}

// A gateway on all interfaces and one on a single interface take each other's
// connections.
func TestAddressesOverlap(t *testing.T) {
	for _, tt := range []struct {
		first, second string
		want          bool
	}{
		{":41001", "127.0.0.1:41001", true},
		{"127.0.0.1:41001", ":41001", true},
		{"0.0.0.0:41001", "10.0.0.1:41001", true},
		{"[::]:41001", "127.0.0.1:41001", true},
		{"127.0.0.1:41001", "127.0.0.2:41001", false},
		{":41001", "127.0.0.1:41002", false},
	} {
		one, two := otherProcess(), otherProcess()
		if err := one.acquire([]string{tt.first}); err != nil {
			t.Fatal(err)
		}
		err := two.acquire([]string{"127.0.0.1:41003", tt.second})
		if errors.Is(err, errAddressClaimed) != tt.want {
			t.Errorf("%s beside %s: got %v, want refused %t", tt.second, tt.first, err, tt.want)
		}
		if tt.want && len(two.held) != 0 {
			t.Errorf("%s beside %s: after it was refused it holds %v", tt.second, tt.first, two.held)
		}
		if err == nil {
			err = two.release([]string{"127.0.0.1:41003", tt.second})
		} else if err = two.acquire([]string{"127.0.0.1:41004"}); err == nil {
			err = two.release([]string{"127.0.0.1:41004"})
		}
		if err := errors.Join(err, one.release([]string{tt.first})); err != nil {
			t.Error(err)
		}
	}
}
