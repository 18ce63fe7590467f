package vllmsim

import (
	"fmt"
	"os"
	"time"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// Defaults of Config.
const (
	DefaultModel      = "sim"
	DefaultMaxNumSeqs = 256 // vLLM's own
	DefaultVersion    = "0.11.0+sim"
	NewerVersion      = "0.32.0+sim"

	newerMinor       = 32     // of NewerVersion
	reportedModelLen = 131072 // what /v1/models says without Config.MaxModelLen
)

// Config is the configuration of a simulated server. The zero value serves the model "sim"
// without delay and without faults.
type Config struct {
	// Models are the names that /v1/models lists and that requests may name.
	// Default: "sim". The first one labels the metrics.
	Models []string

	// Engine, if not nil, simulates a GPU's scheduler and step times in place of
	// TTFT and ITL: see the package engine. Answers have the cached_tokens that
	// its prefix cache gave them, not those of Expected, and are cut at
	// MaxModelLen. Default: nil.
	Engine *engine.Spec

	// Speed divides the durations of Engine. Default: 1.
	Speed float64

	// MaxQueuedReqs limits the requests that wait or run. Others are answered 503 at
	// once, as with --max-num-queued-reqs. With Engine each choice of an answer
	// counts. Default: no limit.
	MaxQueuedReqs int

	// MetricsLag is the age of /metrics with Engine. A negative one means 0.
	// Default: DefaultMetricsLag.
	MetricsLag time.Duration

	// TTFT is the time from the start of a request's run to its first token.
	// Default: 0.
	TTFT time.Duration

	// ITL is the time between two tokens. An answer of n tokens takes
	// TTFT + (n-1)·ITL, streamed or not. Default: 0.
	ITL time.Duration

	// MaxNumSeqs is the maximum number of requests that run at once. The others wait,
	// first come first served. Default: 256, or the value of Engine.
	MaxNumSeqs int

	// Startup is the time for which the model loads, from New on. Until then every
	// request but those to /sim/ is answered 503. Default: 0.
	Startup time.Duration

	// RefuseAtStartup closes connections without an answer during Startup
	// instead: a vLLM that loads its model does not listen yet.
	RefuseAtStartup bool

	// Faults are the rates, 0 to 1, at which requests meet a fault. At most one
	// strikes a request, so their sum should not exceed 1. Default: none.
	Faults map[Fault]float64

	// Seed decides which requests meet a fault: the same seed, request and
	// number of its reception give the same decision, independent of the timing. The
	// servers of a pool want different seeds, or a retry elsewhere meets the
	// same fault. Default: differs from server to server of one process; in
	// Serve it comes from the listener's address.
	Seed uint64

	// MaxModelLen is the context length in tokens. A request that cannot fit
	// is answered 400. Default: 131072 is reported and nothing is refused; with
	// Engine what it says, as far as its KV cache can hold that.
	MaxModelLen int

	// NoPrefixCaching is reported in /metrics. With Engine it also disables the
	// prefix cache.
	NoPrefixCaching bool

	// PriorityScheduling accepts requests with a priority, as after
	// --scheduling-policy priority. They are refused otherwise.
	PriorityScheduling bool

	// APIKey, when set, is the bearer token without which requests to /v1/…
	// are answered 401, as by `vllm serve --api-key`. Other paths stay open.
	APIKey string

	// Exit ends the process for the fault FaultExit. When it returns, the
	// connection is cut. Default: os.Exit.
	Exit func(code int)

	// Version answers GET /version. From NewerVersion on /metrics has the names
	// of vLLM 0.32. Default: DefaultVersion, with Engine NewerVersion.
	Version string

	// Ledger counts receptions per request. Servers of one process may share
	// one. Default: one of the server's own.
	Ledger *Ledger
}

func (c Config) withDefaults() Config {
	if len(c.Models) == 0 {
		c.Models = []string{DefaultModel}
	}
	if c.Engine != nil {
		c = c.withEngine()
	}
	if c.MaxNumSeqs <= 0 {
		c.MaxNumSeqs = DefaultMaxNumSeqs
	}
	if c.Exit == nil {
		c.Exit = os.Exit
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.Ledger == nil {
		c.Ledger = NewLedger()
	}
	return c
}

// withEngine completes a configuration from that of its engine.
func (c Config) withEngine() Config {
	spec := *c.Engine
	if c.MaxNumSeqs > 0 {
		spec.MaxNumSeqs = c.MaxNumSeqs
	}
	if c.MaxModelLen <= 0 {
		c.MaxModelLen = min(spec.MaxModelLen, spec.KVTokens)
	}
	if c.MetricsLag == 0 {
		c.MetricsLag = DefaultMetricsLag
	}
	if c.Version == "" {
		c.Version = NewerVersion
	}
	c.MaxNumSeqs = spec.MaxNumSeqs
	c.Engine = &spec
	return c
}

// newer reports whether the version has the names of vLLM 0.32.
func (c Config) newer() bool {
	var major, minor int
	_, err := fmt.Sscanf(c.Version, "%d.%d", &major, &minor)
	return err == nil && (major > 0 || minor >= newerMinor)
}
