package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/redis"
)

func init() {
	caddy.RegisterModule(new(RedisQueue))
}

// RedisQueue is a queue in Redis streams, for several gateways.
type RedisQueue struct {
	// URL is the address and the credentials of Redis:
	// redis://[[user]:password@]host[:port][,host…][/database][?option=value], or
	// rediss:// over TLS. See docs/configuration.md for the options. Placeholders are
	// replaced.
	URL string `json:"url"`
	// Prefix is the prefix of all keys. Default: tidegate.
	Prefix string `json:"prefix,omitempty"`
	// Timeout limits each command. Default 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Idle is the time after which an unfinished slice of one gateway is offered to
	// another. Default 1m.
	Idle caddy.Duration `json:"idle,omitempty"`

	url    string
	config redis.Config
}

// CaddyModule returns the Caddy module information.
func (*RedisQueue) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.queues.redis", New: func() caddy.Module { return new(RedisQueue) }}
}

// Provision reads the URL.
func (q *RedisQueue) Provision(caddy.Context) (err error) {
	secrets := &secrets{replacer: caddy.NewReplacer()}
	if q.url, err = secrets.url("redis", q.URL); err != nil {
		return fmt.Errorf("queue redis: %w", err)
	}
	server, err := redis.ParseURL(q.url)
	if err != nil {
		return fmt.Errorf("queue redis: %w", err)
	}
	q.config = redis.Config{Server: server, Prefix: q.Prefix, Timeout: duration(q.Timeout), Idle: duration(q.Idle)}
	return nil
}

// readFrom defers reading the URL from a placeholder until the configuration is
// loaded.
func (q *RedisQueue) readFrom(placeholder string) { q.URL = placeholder }

// Identity implements QueueModule.
func (q *RedisQueue) Identity() string {
	return q.config.Identity() + " " + fingerprint(q.url, q.Timeout, q.Idle)
}

// Queue opens the queue.
func (q *RedisQueue) Queue(log *zap.Logger) (batch.Queue, error) {
	cfg := q.config
	cfg.Logger = log
	return redis.New(cfg), nil
}

// UnmarshalCaddyfile sets up the module:
//
//	redis <url> {
//		prefix  <word>
//		timeout <duration>
//		idle    <duration>
//	}
func (q *RedisQueue) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return urlAndBlock(d, &q.URL, redis.ParseURL, q.options())
}

func (q *RedisQueue) options() map[string]option {
	return map[string]option{"prefix": text(&q.Prefix), "timeout": span(&q.Timeout), "idle": span(&q.Idle)}
}

var (
	_ QueueModule           = (*RedisQueue)(nil)
	_ caddyfile.Unmarshaler = (*RedisQueue)(nil)
	_ caddy.Provisioner     = (*RedisQueue)(nil)
)
