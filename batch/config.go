package batch

import (
	"fmt"
	"time"
)

// Config are the settings of an Engine. A zero field means its default.
type Config struct {
	// Role is the part of the work that this gateway does. Default RoleAll.
	Role Role
	// Version is the version of the program, for receipts.
	Version string
	// MaxInFlight limits the lines that this gateway has sent and that have no durable
	// result yet. It bounds the lines that a crash repeats and, multiplied by the size
	// of a result, the memory for results while the store is unavailable. Default: a
	// third more than Dispatcher.Slots, for results that are being committed, and at
	// least 256.
	MaxInFlight int
	// MaxConcurrentBatches limits the batches that run at a time. More of them rotate.
	// Default 10.
	MaxConcurrentBatches int
	// Weights are the shares of tenants, relative to each other. Default 1.
	Weights map[string]float64
	// MaxRequests limits the lines of a batch. Default 50,000.
	MaxRequests int
	// MaxLineBytes limits the length of a line. Default 16 MiB.
	MaxLineBytes int
	// MemoryBytes limits the requests in flight or prefetched, with the order of lines
	// whose requests are not in memory, and, separately, the results that wait for the
	// store. Default 64 MiB. One line and one result of any allowed size always fit.
	MemoryBytes int64

	// Retries limits how often a line is sent again after a temporary error (broken
	// connection, 408, 429, 500, 502, 503, 504). Default 8, about two minutes of
	// backoff.
	Retries int
	// RetryBackoffMin and RetryBackoffMax bound the pause before a retry; it
	// doubles from one to the other, with jitter. Default 500 ms and 60 s.
	RetryBackoffMin, RetryBackoffMax time.Duration
	// StopAfter pauses a batch after this number of consecutive lines failed with the
	// same error. NoStop: never. Default 100.
	StopAfter int
	// LineTimeout limits one attempt at a line. Default 30 min.
	LineTimeout time.Duration

	// Lease is the lifetime of a claim without renewal, by the store's clock. Default
	// 20 s: the work of a killed gateway is taken over within 30 s. LeaseRenew is the
	// interval of renewals. Default a third of Lease.
	Lease, LeaseRenew time.Duration
	// DrainTimeout limits how long lines in flight may finish after a stop was
	// requested, before they are released. Default 25 s.
	DrainTimeout time.Duration
	// CollectInterval is the interval of the cleaner. Default 1 min.
	CollectInterval time.Duration
	// Quarantine is the time after which contents without a row are deleted. Default 7 days.
	Quarantine time.Duration
	// ExpireInterval is the interval of checks for batches past their deadlines.
	// Default 1 s.
	ExpireInterval time.Duration

	// OutputTTL is the lifetime of results, from the end of their batch, if the batch sets
	// none. Default 30 days.
	OutputTTL time.Duration

	// Prices are the prices of tokens. nil: none.
	Prices *Prices
}

// WithDefaults returns the settings with defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	def(&c.Role, RoleAll)
	def(&c.MaxConcurrentBatches, 10)
	def(&c.MaxRequests, 50_000)
	def(&c.MaxLineBytes, 16<<20)
	def(&c.MemoryBytes, 64<<20)
	def(&c.Retries, 8)
	def(&c.StopAfter, 100)
	def(&c.RetryBackoffMin, 500*time.Millisecond)
	def(&c.RetryBackoffMax, time.Minute)
	def(&c.LineTimeout, 30*time.Minute)
	def(&c.Lease, 20*time.Second)
	def(&c.LeaseRenew, c.Lease/3)
	def(&c.DrainTimeout, 25*time.Second)
	def(&c.CollectInterval, time.Minute)
	def(&c.Quarantine, 7*24*time.Hour)
	def(&c.ExpireInterval, time.Second)
	def(&c.OutputTTL, 30*24*time.Hour)
	return c
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate returns an error for the first invalid setting.
func (c Config) Validate() error {
	c = c.WithDefaults()
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"max_concurrent_batches", int64(c.MaxConcurrentBatches)},
		{"max_requests", int64(c.MaxRequests)},
		{"max_line_size", int64(c.MaxLineBytes)},
		{"memory", c.MemoryBytes},
		{"retry_backoff (first)", int64(c.RetryBackoffMin)},
		{"retry_backoff (last)", int64(c.RetryBackoffMax)},
		{"line_timeout", int64(c.LineTimeout)},
		{"lease", int64(c.Lease)},
		{"drain_timeout", int64(c.DrainTimeout)},
		{"collect_interval", int64(c.CollectInterval)},
		{"quarantine", int64(c.Quarantine)},
		{"output_ttl", int64(c.OutputTTL)},
	} {
		if f.value <= 0 {
			return fmt.Errorf("%s must be positive, not %d", f.name, f.value)
		}
	}
	switch {
	case c.Role != RoleAll && c.Role != RoleServe && c.Role != RoleWork:
		return fmt.Errorf("role must be %s, %s or %s, not %q", RoleAll, RoleServe, RoleWork, c.Role)
	case c.MaxInFlight < 0:
		return fmt.Errorf("max_in_flight must be positive, not %d", c.MaxInFlight)
	case c.StopAfter < NoStop:
		return fmt.Errorf("stop_after must be positive or off, not %d", c.StopAfter)
	case c.Retries < 0:
		return fmt.Errorf("retries must not be negative, as %d is", c.Retries)
	case c.RetryBackoffMax < c.RetryBackoffMin:
		return fmt.Errorf("retry_backoff must not end (%s) below its start (%s)", c.RetryBackoffMax, c.RetryBackoffMin)
	case c.LeaseRenew <= 0 || c.LeaseRenew > c.Lease/2:
		return fmt.Errorf("a lease of %s must be renewed at least twice in its time, not every %s", c.Lease, c.LeaseRenew)
	}
	return nil
}
