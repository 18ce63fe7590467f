package batch

import (
	"context"
	"time"
)

// Registry is what a Store offers besides, if several gateways can share it: it
// knows who else is there.
type Registry interface {
	// Announce says that a gateway is there until ttl is over, and gives what
	// the others said last, without those whose time is over. Since is set by
	// the store when an ID is announced first.
	Announce(ctx context.Context, a Announcement, ttl time.Duration) (others []Announcement, err error)
	// Withdraw says that a gateway leaves.
	Withdraw(ctx context.Context, id string) error
}

// Announcement is what a gateway tells the others.
type Announcement struct {
	ID    string    // of this run of the gateway
	Host  string    // for people
	Role  Role      // what it does; RoleAll of a version without roles
	Place string    // where its contents lie, see Placed
	Since time.Time // when it came, by the store's clock
	Loads map[string]Load
}

// Load is what a gateway has on an upstream. Gateways of other versions read it from
// the store: members are only added, and those of older versions lack the newer ones.
type Load struct {
	// Requests in flight.
	Live  int `json:"live"`
	Batch int `json:"batch"`
	// Prefill is how many tokens of prompts the server still has to read, as estimated,
	// and LivePrefill how many of these are of live requests.
	Prefill     int64 `json:"prefill,omitempty"`
	LivePrefill int64 `json:"live_prefill,omitempty"`
}

// Waker is what a Store offers besides, if it can tell of changes that other
// gateways made. Values may be lost in an outage.
type Waker interface {
	Wake() <-chan struct{}
}

// Placed is what Files offer besides, if several gateways can share them.
type Placed interface {
	// Place names where the contents lie, the same for all who see the same.
	// The files must be open.
	Place(ctx context.Context) (string, error)
}

// LoadSharer is what a Dispatcher offers besides, if it can count in what other
// gateways have in flight, by the URL of the upstream.
type LoadSharer interface {
	Loads() map[string]Load
	// SetPeers tells how many others there are and what they have in flight
	// together; nil when that is not known any more.
	SetPeers(peers Peers, loads map[string]Load)
	// OthersIdle tells whether the other gateways leave many slots of a model
	// free.
	OthersIdle(model string) bool
}
