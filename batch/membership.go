package batch

import (
	"time"
)

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

const (
	// announceInterval is how often a gateway tells the others what it has in
	// flight.
	AnnounceInterval = 500 * time.Millisecond
	// announceTTL is how long a gateway that says nothing any more is believed
	// to be there.
	AnnounceTTL = 5 * time.Second
)
