package caddymodule

import (
	"fmt"
	"strings"

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
	// URL says where Redis is and how to be let in:
	// redis://[[user]:password@]host[:port][,host…][/database][?option=value],
	// or rediss:// over TLS. See docs/configuration.md for the options. Placeholders
	// are replaced.
	URL string `json:"url"`
	// Prefix is what names of keys begin with. Default: tidegate.
	Prefix string `json:"prefix,omitempty"`
	// Timeout bounds each command. Default 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Idle is after how long a slice that a gateway took and did not finish is
	// offered to another. Default 1m.
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

// readFrom has the URL read from a placeholder when the configuration is loaded.
func (q *RedisQueue) readFrom(placeholder string) { q.URL = placeholder }

// Identity tells servers and prefixes apart, and ways to use them.
func (q *RedisQueue) Identity() string {
	return q.config.Identity() + " " + fingerprint(q.url, q.Timeout, q.Idle)
}

// Queue makes the queue.
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
	d.Next()
	var err error
	if q.URL, err = argument(d); err != nil {
		return err
	}
	if !strings.Contains(q.URL, "{") { // else a placeholder
		if _, err := redis.ParseURL(q.URL); err != nil {
			return d.WrapErr(err)
		}
	}
	return block(d, q.options())
}

func (q *RedisQueue) options() map[string]option {
	return map[string]option{"prefix": text(&q.Prefix), "timeout": span(&q.Timeout), "idle": span(&q.Idle)}
}

var (
	_ QueueModule           = (*RedisQueue)(nil)
	_ caddyfile.Unmarshaler = (*RedisQueue)(nil)
	_ caddy.Provisioner     = (*RedisQueue)(nil)
)
