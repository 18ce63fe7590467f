package batch

import (
	"fmt"
	"time"
)

// Config are the settings of an Engine. A zero field means its default.
type Config struct {
	// Role is the part of the work that this gateway does. Default RoleAll.
	Role Role
	// MaxInFlight is how many lines, at most, have been sent by this gateway
	// and have no durable result yet. It bounds what a crash repeats and,
	// times the size of an answer, the memory that results take while the
	// store is away. By default it follows the pool: a third more than
	// Dispatcher.Slots, for what is being committed, and at least 256.
	MaxInFlight int
	// MaxConcurrentBatches is how many batches are served at a time; more
	// take turns. Default 10.
	MaxConcurrentBatches int
	// MaxRequests is how many lines a batch may have. Default 50,000.
	MaxRequests int
	// MaxLineBytes is how long a line may be. Default 16 MiB.
	MaxLineBytes int
	// MemoryBytes bounds the requests that are under way or read ahead, and
	// apart from them the results that wait for the store. Default 64 MiB. One
	// line and one result of any allowed size always fit.
	MemoryBytes int64

	// Retries is how often a line is sent again after an answer or a failure
	// that may pass (connection broken, 408, 429, 500, 502, 503, 504).
	// Default 8, about two minutes of back-off.
	Retries int
	// RetryBackoffMin and RetryBackoffMax bound the pause before a retry; it
	// doubles from one to the other, with jitter. Default 500 ms and 60 s.
	RetryBackoffMin, RetryBackoffMax time.Duration
	// StopAfter pauses a batch when so many of its lines failed in a row with
	// the same error. NoStop: never. Default 100.
	StopAfter int
	// LineTimeout is how long one attempt at a line may take. Default 30 min.
	LineTimeout time.Duration

	// Lease is how long a claim holds without renewal, by the store's clock.
	// Default 20 s: what a gateway had that was killed is taken over within
	// 30 s. LeaseRenew is how often it is renewed. Default a third of Lease.
	Lease, LeaseRenew time.Duration
	// DrainTimeout is how long running lines may go on after a stop was
	// asked for, before they are handed back. Default 25 s.
	DrainTimeout time.Duration
	// CollectInterval is how often what expired is collected. Default 1 min.
	CollectInterval time.Duration
	// Quarantine is how long a content that no row names is kept. Default 7 days.
	Quarantine time.Duration
	// ExpireInterval is how often deadlines of batches are looked at.
	// Default 1 s.
	ExpireInterval time.Duration

	// OutputTTL is how long results are kept after the end of a batch that
	// does not say. Default 30 days.
	OutputTTL time.Duration
}

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

// Validate names the first setting that makes no sense.
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
