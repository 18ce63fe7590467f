// Package upstreams is the pool of model servers and the way of live traffic
// through it.
//
// A [Pool] knows its upstreams: what models each has, whether it is up, and how
// many requests of each [Class] are in flight on it. Live requests go through
// [Proxy], an http.Handler; batch lines take a [Slot]. Both, and the probes,
// leave by the same transport.
//
// What a request reads is an immutable snapshot behind an atomic pointer. It is
// made anew, under the pool's mutex, whenever an upstream changes its state or
// its models and when the configuration changes; no request takes that mutex,
// save one that finds a server gone.
//
// # States
//
//	           good probe             probes time out or answer 5xx,
//	           with models            but requests get on
//	loading ──────────────► up ◄─────────────────────────► busy
//	   │                    ▲ │                              │
//	   │ never up within    │ │ refused, or three probes     │
//	   │ LoadTime           │ │ failed and nothing got on    │
//	   └────────► down ─────┘ └──────────► down ◄────────────┘
//
// The last server of a model that is up is never taken out because its probes
// time out or answer badly; only a refused connection does that. A server that
// broke a connection, or failed one probe, is suspected: while there is another
// one it gets nothing new, until the probe that is made at once has cleared it.
// Draining is no state of the server but the operator's wish, kept beside it.
package upstreams
