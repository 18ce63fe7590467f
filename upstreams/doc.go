// Package upstreams implements the pool of model servers and the proxy for live
// traffic.
//
// A [Pool] tracks its upstreams: the models of each, its health, and the number of
// requests of each [Class] in flight. Live requests go through [Proxy], an
// http.Handler; batch lines use a [Slot]. Both, and the probes, share the same
// transports.
//
// Requests read an immutable snapshot behind an atomic pointer. It is rebuilt under
// the pool's mutex whenever an upstream changes its state or its models, and when the
// configuration changes. No request takes that mutex, except one whose upstream
// refuses the connection and is marked down.
//
// # States
//
//	           good probe             probes time out or answer 5xx,
//	           with models            but requests make progress
//	loading ──────────────► up ◄─────────────────────────► busy
//	   │                    ▲ │                              │
//	   │ never up within    │ │ refused, or three probes     │
//	   │ LoadTime           │ │ failed without any progress  │
//	   └────────► down ─────┘ └──────────► down ◄────────────┘
//
// The last server of a model is never marked down because its probes time out or
// fail; only a refused connection marks it down. A server that broke a connection or
// failed one probe becomes suspect: it gets no new request while another server has
// the model, until the probe that is sent at once succeeds. Draining is not a state
// of the server: it is set by the operator and stored separately.
package upstreams
