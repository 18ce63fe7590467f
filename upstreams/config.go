package upstreams

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/guardrail"
)

// UpstreamConfig configures one model server.
type UpstreamConfig struct {
	// URL consists of http or https, the host, and the port unless it is the scheme's
	// default. A path is prepended to every route; a trailing /v1 is removed. A Unix
	// domain socket is written as unix//run/vllm.sock.
	URL string
	// APIKey is sent to this upstream instead of Config.APIKey.
	APIKey string
	// TLS selects the trusted certificates and the client certificate, if URL is
	// https.
	TLS TLSConfig
	// Weight is the server's share of requests relative to the other servers. Default:
	// 1.
	Weight float64
	// MaxNumSeqs is the number of requests that the server runs concurrently, its own
	// --max-num-seqs. Default: 256, vLLM's default.
	MaxNumSeqs int
	// SchedulingPolicy is the server's own --scheduling-policy, SchedulingFCFS or
	// SchedulingPriority. With the latter, batch lines are sent with a priority behind
	// live requests. Default: as reported by the server; newer versions of vLLM do not
	// report it.
	SchedulingPolicy string
	// ScaleToZero reports that the server is stopped on purpose at times: while its
	// host refuses connections, it is StateAway, which is no problem.
	ScaleToZero bool
}

// NoQueue is the Config.QueueSize that disables queueing in the gateway.
const NoQueue = -1

// Config configures a pool. The zero value of every field selects its default.
type Config struct {
	Upstreams []UpstreamConfig

	// APIKey is sent to the upstreams as a bearer token, instead of the client's
	// credentials. Default: none.
	APIKey string
	// DropAuthorization removes the client's credentials from requests to upstreams,
	// because they are meant for the gateway. Default: they are passed on, unless
	// APIKey is set.
	DropAuthorization bool

	// BatchShare is the part of a server's MaxNumSeqs, above 0 and up to 1, that batch
	// lines may use, rounded down, but at least one. Default: 0.75 of a configured
	// MaxNumSeqs, and all of the measured limit for other servers.
	BatchShare float64
	// Hours limits the share of the slots that batch lines may use by time of day.
	// Default: no limit.
	Hours HoursConfig

	// BatchPrice is the part of the time, up to 0.5, for which batch lines are
	// withheld from a server to measure how much they slow down live requests. A value
	// below 0 disables the measurement. Default: DefaultBatchPrice.
	BatchPrice float64
	// BatchBudget limits that price: the slots for batch lines are reduced until the
	// price meets it.
	BatchBudget BudgetConfig

	// HealthInterval is the time between two probes of a healthy server. Default: 5 s.
	HealthInterval time.Duration
	// HealthTimeout limits the duration of a probe. Default: 5 s.
	HealthTimeout time.Duration
	// HealthFailures is the number of consecutive probes that have to time out or
	// fail, without progress on any request, before a server is marked down. Default:
	// 3.
	HealthFailures int
	// ModelsInterval is the time between two model discoveries. Default: 30 s.
	ModelsInterval time.Duration
	// LoadTime limits the time for which a server that has not been up yet and refuses
	// connections counts as loading: vLLM does not listen before the model is loaded,
	// which may take minutes. Default: 30 min.
	LoadTime time.Duration

	// RetryBuffer is the largest body of a live request, in bytes, that is kept for
	// retries. Larger bodies are streamed and sent once. Default: 32 MiB.
	RetryBuffer int64
	// BodyMemory limits the memory for all buffered bodies of live requests, in bytes.
	// When it is used up, bodies that name their model early are streamed and sent
	// once; others wait, and are refused with 503 if no memory becomes free. A body
	// must name its model within half of that size. Default: 256 MiB.
	BodyMemory int64
	// QueueSize limits, for each model, how many live requests wait in the gateway
	// while every server is at its limit, and how many flex requests wait while live
	// requests leave no slot. Further requests are refused with 429. With NoQueue,
	// live requests are sent at once regardless of the limits, and flex requests never
	// wait. Default: 1024.
	QueueSize int
	// QueueTimeout limits how long a request waits there. Default: 60 s.
	QueueTimeout time.Duration
	// MaxAnswer limits the size of the answer to a batch line, in bytes. Default: 128
	// MiB.
	MaxAnswer int64

	// DialTimeout limits the time for connecting. Default: 5 s.
	DialTimeout time.Duration
	// IdleConnTimeout is the time after which an idle connection is closed. It must be less
	// than the servers' own limit, 5 s for vLLM (VLLM_HTTP_TIMEOUT_KEEP_ALIVE), so that no
	// request uses a connection that is being closed. Default: 4 s.
	IdleConnTimeout time.Duration
	// StreamIdleTimeout aborts a stream that has been silent for this long. Default:
	// never.
	StreamIdleTimeout time.Duration

	// Balancer selects among the servers that can accept a request. Default:
	// LeastWork.
	Balancer Balancer

	// Guardrail decides about requests before they are sent. Default: none.
	Guardrail guardrail.Config
}

// withDefaults replaces zero values by the defaults.
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
		c.Balancer = LeastWork{}
	}
	if c.Guardrail.URL != "" {
		fill(&c.Guardrail.Timeout, guardrail.DefaultTimeout)
	}
	return c
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate checks the configuration. The error names the field.
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
			return fmt.Errorf("upstreams[%d].weight: %v must be above 0 and at most %g", i, u.Weight, MaxWeight)
		}
		if u.SchedulingPolicy != "" && !slices.Contains(schedulingPolicies, u.SchedulingPolicy) {
			return fmt.Errorf("upstreams[%d].scheduling_policy: %q must be one of %v", i, u.SchedulingPolicy, schedulingPolicies)
		}
		if u.MaxNumSeqs < 0 || u.MaxNumSeqs > MaxNumSeqs {
			return fmt.Errorf("upstreams[%d].max_num_seqs: %d must be from 1 to %d", i, u.MaxNumSeqs, MaxNumSeqs)
		}
	}
	if !usableKey(c.APIKey) {
		return errKey
	}
	if c.QueueSize < NoQueue {
		return fmt.Errorf("queue_size: %d must be at least 1, or %d to disable the queue", c.QueueSize, NoQueue)
	}
	if !(c.BatchShare >= 0 && c.BatchShare <= 1) {
		return fmt.Errorf("batch_share: %v must be above 0 and at most 1", c.BatchShare)
	}
	if err := c.Hours.Validate(); err != nil {
		return err
	}
	if !(c.BatchPrice <= 0 || c.BatchPrice >= MinBatchPrice && c.BatchPrice <= MaxBatchPrice) { // NaN is refused too
		return fmt.Errorf("batch_price: %v must be from %g to %g", c.BatchPrice, MinBatchPrice, MaxBatchPrice)
	}
	if err := c.BatchBudget.validate(); err != nil {
		return err
	}
	if err := c.Guardrail.Validate(); err != nil {
		return fmt.Errorf("guardrail: %w", err)
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
			return fmt.Errorf("%s: must not be negative", d.name)
		}
	}
	return nil
}

// CheckFiles reads the certificate files of the upstreams. The error names the file
// and the upstream.
func (c Config) CheckFiles() error {
	for i, u := range c.Upstreams {
		if _, err := u.TLS.load(); err != nil {
			return fmt.Errorf("upstreams[%d] (%s): %w", i, u.URL, err)
		}
	}
	return nil
}

// errKey does not contain the key, which is a secret.
var errKey = errors.New("api_key: contains characters that are not allowed in a header")

// usableKey reports whether key can be sent in a header.
func usableKey(key string) bool {
	return !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

const (
	// MinBatchPrice and MaxBatchPrice limit a positive Config.BatchPrice.
	MinBatchPrice = 0.001
	MaxBatchPrice = 0.5
	// MaxWeight is the maximum UpstreamConfig.Weight.
	MaxWeight = 1e6
	// MaxNumSeqs is the maximum UpstreamConfig.MaxNumSeqs.
	MaxNumSeqs = 1 << 20
)
