package batch

import "time"

// Peer is a gateway that shares the store, as it announced itself.
type Peer struct {
	ID    string    // of this run of the gateway
	Host  string    // for display
	Role  Role      // RoleAll for a version without roles
	Place string    // where its contents are stored; see Placed
	Since time.Time // of its first announcement, by the store's clock
	Loads map[string]Load
	// Lines counts the batch lines that it has in flight, by model. It is empty for a
	// version that does not announce it.
	Lines map[string]int64
}

// Load counts the work that a gateway has on an upstream. Gateways of other versions read it from
// the store: members are only added, and those of older versions lack the newer ones.
type Load struct {
	// Requests in flight.
	Live  int `json:"live"`
	Batch int `json:"batch"`
	// Prefill is the estimated number of prompt tokens that the server still has to
	// prefill. LivePrefill is the part of it that is of live requests.
	Prefill     int64 `json:"prefill,omitempty"`
	LivePrefill int64 `json:"live_prefill,omitempty"`
}

const (
	// AnnounceInterval is the time between announcements of a gateway.
	AnnounceInterval = 500 * time.Millisecond
	// AnnounceTTL is the time after which a gateway without an announcement is
	// no longer a member.
	AnnounceTTL = 5 * time.Second
)
