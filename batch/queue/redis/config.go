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

// Config says where the queue is and how it behaves. Only Server is needed.
type Config struct {
	// Server is where Redis is; see ParseURL.
	Server Server
	// Prefix is what the names of keys and of the channel begin with. Gateways
	// that work together have the same. Default: "tidegate".
	Prefix string
	// Instance names this gateway among the consumers of a group. No two that
	// run may have the same. Default: random.
	Instance string
	// Timeout bounds a connection attempt and each command. Contexts are obeyed
	// before it is over, save while a server that was reached does not greet.
	// Default: 2 s.
	Timeout time.Duration
	// Idle is after how long a reference that somebody took and did not report
	// done is given to another. Default: 60 s.
	Idle time.Duration
	// TTL is how long a batch's stream lives after the last Push, so that one
	// that nobody drops leaves no garbage behind. Default: 8 days.
	TTL time.Duration
	// Logger is told of what was healed and of outages. Default: none.
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

// Identity tells queues apart: two configurations with the same one mean the
// same queue. It has no password in it.
func (c Config) Identity() string {
	return fmt.Sprintf("redis %s %s", c.Server, c.withDefaults().Prefix)
}

// group is the name of the consumer group of each stream.
const group = "gateways"

// stream is the key of a batch's stream.
func (c *Config) stream(batchID string) string { return c.Prefix + ":{" + batchID + "}:slices" }

// channel is where gateways wake each other. Redis has channels for all of its
// databases together: another database's gateways are woken for nothing.
func (c *Config) channel() string { return c.Prefix + ":wake" }
