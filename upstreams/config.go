package upstreams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// UpstreamConfig is one model server.
type UpstreamConfig struct {
	// URL is http or https, host, and port if it is not the scheme's. A path is
	// put before every route; /v1 at its end is dropped. Or it is a Unix domain
	// socket as in unix//run/vllm.sock.
	URL string
	// APIKey is sent to this upstream instead of Config.APIKey.
	APIKey string
	// TLS says which certificates are trusted and shown, if URL is https.
	TLS TLSConfig
	// Weight is the server's share of requests in relation to the others'.
	// Default: 1.
	Weight float64
	// MaxNumSeqs is how many requests the server runs at once, its own
	// --max-num-seqs. Default: 256, as vLLM's.
	MaxNumSeqs int
	// SchedulingPolicy is the server's own --scheduling-policy, SchedulingFCFS or
	// SchedulingPriority. With the latter batch lines are sent with a priority, behind
	// live requests. Default: as the server tells, which newer versions of vLLM do not.
	SchedulingPolicy string
}

// NoQueue is Config.QueueSize when no request waits in the gateway.
const NoQueue = -1

// Config is what a pool consists of. The zero value of every field is its
// default.
type Config struct {
	Upstreams []UpstreamConfig

	// APIKey is sent to the upstreams as bearer token, instead of whatever the
	// client sent. Default: none.
	APIKey string
	// DropAuthorization keeps the client's credentials from the upstreams: they
	// are the gateway's own. Default: they are passed on, unless APIKey is set.
	DropAuthorization bool

	// BatchShare is the part of a server's MaxNumSeqs, above 0 and up to 1,
	// that batch lines may take, rounded down and at least one. Default: 0.75 of a
	// configured MaxNumSeqs, and all of the limit that is found for other servers.
	BatchShare float64
	// Hours is the share of the slots that batch lines may use by time of day.
	// Default: all, always.
	Hours HoursConfig

	// BatchPrice is the part of the time, up to 0.5, for which batch lines are
	// withheld from a server so that it is known what they cost live requests; less
	// than 0 measures nothing. Default: DefaultBatchPrice.
	BatchPrice float64
	// BatchBudget bounds that price: batch lines get fewer slots until it is kept.
	BatchBudget BudgetConfig

	// HealthInterval is the time between two probes of a server that is well.
	// Default: 5 s.
	HealthInterval time.Duration
	// HealthTimeout is how long a probe may take. Default: 5 s.
	HealthTimeout time.Duration
	// HealthFailures is how many probes in a row time out or are answered
	// badly, while no request gets on, before a server is down. Default: 3.
	HealthFailures int
	// ModelsInterval is the time between two looks at a server's models.
	// Default: 30 s.
	ModelsInterval time.Duration
	// LoadTime is how long a server that has not been up yet and refuses
	// connections is believed to be loading: vLLM does not listen before it
	// has its model, which may take minutes. Default: 30 min.
	LoadTime time.Duration

	// RetryBuffer is the largest body of a live request, in bytes, that is kept
	// so that it can be sent again. Larger ones are sent once, as they come.
	// Default: 32 MiB.
	RetryBuffer int64
	// BodyMemory is the memory for all bodies of live requests that are held, in
	// bytes. When it is used up, bodies that name their model early are sent
	// once, as they come; others wait and are refused with 503 at last. A body
	// must name its model in its first half of that. Default: 256 MiB.
	BodyMemory int64
	// QueueSize is how many live requests of a model wait in the gateway while
	// every server of it is at its limit for them, and as many flex requests while
	// live requests leave no slot. Others are refused with 429. NoQueue: live
	// requests are sent at once, however many run, and flex requests never wait.
	// Default: 1024.
	QueueSize int
	// QueueTimeout is how long a request waits there before it is refused.
	// Default: 60 s.
	QueueTimeout time.Duration
	// MaxAnswer is the largest answer to a batch line, in bytes.
	// Default: 128 MiB.
	MaxAnswer int64

	// DialTimeout is how long connecting may take. Default: 5 s.
	DialTimeout time.Duration
	// IdleConnTimeout is how long a connection is kept for another request. It
	// is to be less than the servers' own limit, 5 s for vLLM
	// (VLLM_HTTP_TIMEOUT_KEEP_ALIVE), so that no request meets a connection
	// that is being closed. Default: 4 s.
	IdleConnTimeout time.Duration
	// StreamIdleTimeout ends a stream that has been silent for so long.
	// Default: never.
	StreamIdleTimeout time.Duration

	// Balancer chooses among the servers that could take a request.
	// Default: LeastPending.
	Balancer Balancer
}

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.Upstreams = append([]UpstreamConfig(nil), c.Upstreams...)
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		fill(&u.Weight, 1)
		fill(&u.MaxNumSeqs, 256)
	}
	fill(&c.BatchPrice, DefaultBatchPrice)
	fill(&c.HealthInterval, 5*time.Second)
	fill(&c.HealthTimeout, 5*time.Second)
	fill(&c.HealthFailures, 3)
	fill(&c.ModelsInterval, 30*time.Second)
	fill(&c.LoadTime, 30*time.Minute)
	fill(&c.RetryBuffer, 32<<20)
	fill(&c.BodyMemory, 256<<20)
	fill(&c.QueueSize, 1024)
	fill(&c.QueueTimeout, time.Minute)
	fill(&c.MaxAnswer, 128<<20)
	fill(&c.DialTimeout, 5*time.Second)
	fill(&c.IdleConnTimeout, 4*time.Second)
	if c.Balancer == nil {
		c.Balancer = LeastPending{}
	}
	return c
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate says what is wrong with the configuration, naming the field.
func (c Config) Validate() error {
	seen := make(map[string]int, len(c.Upstreams))
	for i, u := range c.Upstreams {
		at, err := parseAddress(u.URL)
		if err != nil {
			return fmt.Errorf("upstreams[%d].url: %w", i, err)
		}
		if first, twice := seen[at.name]; twice {
			return fmt.Errorf("upstreams[%d].url: %s is upstreams[%d] already", i, u.URL, first)
		}
		seen[at.name] = i
		if err := u.TLS.validate(at); err != nil {
			return fmt.Errorf("upstreams[%d]: %w", i, err)
		}
		if !usableKey(u.APIKey) {
			return fmt.Errorf("upstreams[%d].%w", i, errKey)
		}
		if !(u.Weight >= 0 && u.Weight <= MaxWeight) { // NaN is refused too
			return fmt.Errorf("upstreams[%d].weight: %v is not above 0 and up to %g", i, u.Weight, MaxWeight)
		}
		if u.SchedulingPolicy != "" && !slices.Contains(schedulingPolicies, u.SchedulingPolicy) {
			return fmt.Errorf("upstreams[%d].scheduling_policy: %q is not one of %v", i, u.SchedulingPolicy, schedulingPolicies)
		}
		if u.MaxNumSeqs < 0 || u.MaxNumSeqs > MaxNumSeqs {
			return fmt.Errorf("upstreams[%d].max_num_seqs: %d is not from 1 to %d", i, u.MaxNumSeqs, MaxNumSeqs)
		}
	}
	if !usableKey(c.APIKey) {
		return errKey
	}
	if c.QueueSize < NoQueue {
		return fmt.Errorf("queue_size: %d is not from 1 on, or %d for none", c.QueueSize, NoQueue)
	}
	if !(c.BatchShare >= 0 && c.BatchShare <= 1) {
		return fmt.Errorf("batch_share: %v is not above 0 and up to 1", c.BatchShare)
	}
	if err := c.Hours.Validate(); err != nil {
		return err
	}
	if !(c.BatchPrice <= 0 || c.BatchPrice >= MinBatchPrice && c.BatchPrice <= MaxBatchPrice) { // NaN is refused too
		return fmt.Errorf("batch_price: %v is not from %g to %g", c.BatchPrice, MinBatchPrice, MaxBatchPrice)
	}
	if err := c.BatchBudget.validate(); err != nil {
		return err
	}
	if !c.BatchBudget.none() && c.BatchPrice < 0 {
		return errors.New("batch_budget: batch_price is off, so that the price is not measured")
	}
	for _, d := range []struct {
		name  string
		value int64
	}{
		{"health_interval", int64(c.HealthInterval)},
		{"health_timeout", int64(c.HealthTimeout)},
		{"health_failures", int64(c.HealthFailures)},
		{"models_interval", int64(c.ModelsInterval)},
		{"load_time", int64(c.LoadTime)},
		{"retry_buffer", c.RetryBuffer},
		{"body_memory", c.BodyMemory},
		{"queue_timeout", int64(c.QueueTimeout)},
		{"max_answer", c.MaxAnswer},
		{"dial_timeout", int64(c.DialTimeout)},
		{"idle_conn_timeout", int64(c.IdleConnTimeout)},
		{"stream_idle_timeout", int64(c.StreamIdleTimeout)},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s: it is negative", d.name)
		}
	}
	return nil
}

// CheckFiles reads the files of certificates that upstreams name. It says which
// file of which upstream cannot be used.
func (c Config) CheckFiles() error {
	for i, u := range c.Upstreams {
		if _, err := u.TLS.load(); err != nil {
			return fmt.Errorf("upstreams[%d] (%s): %w", i, u.URL, err)
		}
	}
	return nil
}

// errKey does not show the key.
var errKey = errors.New("api_key: it has characters that cannot be in a header")

// usableKey reports whether a key can be in a header.
func usableKey(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

const (
	// MinBatchPrice and MaxBatchPrice bound a Config.BatchPrice that is above 0.
	MinBatchPrice = 0.001
	MaxBatchPrice = 0.5
	// MaxWeight is the largest UpstreamConfig.Weight.
	MaxWeight = 1e6
	// MaxNumSeqs is the largest UpstreamConfig.MaxNumSeqs.
	MaxNumSeqs = 1 << 20
)
