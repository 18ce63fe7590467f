package batch

import (
	"context"
	"time"
)

// Store, Queue, Files and Dispatcher report their optional features by a method
// Capabilities. A nil field is a feature that the driver lacks. A wrapper forwards the
// method of the driver that it wraps, and replaces only a feature that it changes.

// StoreCapabilities are the optional features of a Store.
type StoreCapabilities struct {
	// Membership is set if several gateways can share the store.
	Membership Membership
	// Changes is set if the store reports changes that other gateways made.
	Changes Waker
	// Connections is set if the database limits the number of connections.
	Connections ConnectionLimiter
}

// QueueCapabilities are the optional features of a Queue.
type QueueCapabilities struct {
	// Retainer is set if the queue keeps state of batches in this process.
	Retainer Retainer
}

// FilesCapabilities are the optional features of Files.
type FilesCapabilities struct {
	// Place is set if several gateways can share the files.
	Place Placed
	// Space is set if the capacity for contents is limited and known.
	Space Measured
}

// DispatcherCapabilities are the optional features of a Dispatcher.
type DispatcherCapabilities struct {
	// Loads is set if the dispatcher takes the load of other gateways into account.
	Loads LoadSharer
	// Models is set if the dispatcher discovers the models of upstreams.
	Models ModelDiscoverer
	// Hours is set if lines may run only at some times of day.
	Hours Timed
	// Limits is set if clients can have limits.
	Limits ClientLimiter
}

// Membership records which gateways share a store.
type Membership interface {
	// Announce registers self until ttl ends, and returns the other registered
	// gateways as they were announced last. The store sets Since at the first
	// announcement of an ID.
	Announce(ctx context.Context, self Peer, ttl time.Duration) (others []Peer, err error)
	// Withdraw removes a gateway.
	Withdraw(ctx context.Context, id string) error
}

// Waker reports changes that other gateways made in a store.
type Waker interface {
	// Wake delivers a value after such a change. Values may be lost in an outage.
	Wake() <-chan struct{}
}

// ConnectionLimiter reports limits of connections to a database.
type ConnectionLimiter interface {
	// ConnectionLimits returns the limits of this gateway and of the database.
	ConnectionLimits(ctx context.Context) (ConnectionLimits, error)
}

// ConnectionLimits are numbers of connections to a database.
type ConnectionLimits struct {
	Gateway  int // that this gateway may open
	Database int // that the database admits from gateways, those of all clients together
}

// Retainer keeps state of batches in this process. Another instance may be the one that
// calls Drop.
type Retainer interface {
	// Retain removes the state of a batch that was not active in two successive
	// calls without a Push of the batch between them.
	Retain(active func(batchID string) bool)
}

// Placed identifies where contents are stored.
type Placed interface {
	// Place returns an identifier of the location, equal for all gateways that use
	// the same contents. The files must be open.
	Place(ctx context.Context) (string, error)
}

// Measured reports the capacity for contents.
type Measured interface {
	// Space returns errors.ErrUnsupported if the capacity cannot be measured.
	Space() (Space, error)
}

// LoadSharer exchanges the load of upstreams, by their URL, with other gateways.
type LoadSharer interface {
	// Loads returns the load of this gateway.
	Loads() map[string]Load
	// SetPeers sets the number of other gateways and the sum of their loads. Loads is
	// nil when they are no longer known.
	SetPeers(peers Peers, loads map[string]Load)
	// OthersIdle reports whether the other gateways have many free slots for a
	// model.
	OthersIdle(model string) bool
}

// ModelDiscoverer discovers the models of upstreams.
type ModelDiscoverer interface {
	// DiscoveredModels returns the discovered models by upstream, as text. Upstreams
	// without a successful discovery are omitted.
	DiscoveredModels() map[string]string
	// RecallModels sets the models of upstreams without a successful discovery to
	// those that DiscoveredModels returned earlier, in this or another process.
	RecallModels(models map[string]string)
}

// Timed limits batch work to times of day.
type Timed interface {
	// Closed reports whether no line may start at this time of day. Freed delivers
	// a value when that changes.
	Closed() (c Closing, closed bool)
}
