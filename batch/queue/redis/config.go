package redis

import (
	"crypto/rand"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Defaults of Config.
const (
	DefaultPrefix  = "tidegate"
	DefaultTimeout = 2 * time.Second
	DefaultIdle    = time.Minute
	DefaultTTL     = 8 * 24 * time.Hour
)

// Config is the configuration of a Queue. Only Server is required.
type Config struct {
	// Server is the address of Redis; see ParseURL.
	Server Server
	// Prefix is the prefix of keys and of the channel. Gateways that work
	// together have the same. Default: "tidegate".
	Prefix string
	// Instance names this gateway among the consumers of a group. No two that
	// run may have the same. Default: random.
	Instance string
	// Timeout limits a connection attempt and each command. The end of a context
	// ends them earlier, except during the handshake of a connection. Default:
	// 2 s.
	Timeout time.Duration
	// Idle is the time after which a reference that was popped and not reported
	// as done is delivered to another gateway. Default: 60 s.
	Idle time.Duration
	// TTL is the lifetime of a batch's stream after the last Push, so that
	// streams that are not dropped are removed. Default: 8 days.
	TTL time.Duration
	// Logger logs repairs and outages. Default: none.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Instance == "" {
		c.Instance = rand.Text()
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Idle <= 0 {
		c.Idle = DefaultIdle
	}
	if c.TTL <= 0 {
		c.TTL = DefaultTTL
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Identity identifies a queue: two configurations with the same identity mean the same
// queue. It contains no password.
func (c Config) Identity() string {
	return fmt.Sprintf("redis %s %s", c.Server, c.withDefaults().Prefix)
}

// group is the name of the consumer group of each stream.
const group = "gateways"

// stream is the key of a batch's stream.
func (c *Config) stream(batchID string) string { return c.Prefix + ":{" + batchID + "}:slices" }

// channel returns the channel on which gateways wake each other. Redis shares channels
// between databases, so gateways of another database are woken needlessly.
func (c *Config) channel() string { return c.Prefix + ":wake" }
