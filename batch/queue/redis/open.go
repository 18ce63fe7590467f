package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// openWithin is how many timeouts Open may take: for several nodes or
// sentinels that do not answer, one after the other.
const openWithin = 5

// Open connects, checks that the server is one that can be used, and begins to
// listen. After an error nothing is left open; it is batch.ErrUnavailable when
// the server may be there later.
func (q *Queue) Open(ctx context.Context) error {
	err := q.open(ctx)
	if err == nil {
		return nil
	}
	hidden := q.cfg.Server.hide(err)
	if errors.Is(err, errServer) {
		return fmt.Errorf("opening %s: %w: %w", q.cfg.Server, batch.ErrUnavailable, hidden)
	}
	return fmt.Errorf("opening %s: %w", q.cfg.Server, hidden)
}

// errServer marks what went wrong while a server was asked, and may go well
// another time.
var errServer = errors.New("no answer")

// passing marks an error of asking a server, unless it is a refusal that stays.
func passing(err error) error {
	if err == nil {
		return nil
	}
	if _, refused := errors.AsType[*rueidis.RedisError](err); refused {
		for _, kind := range []string{"LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "ERR max number of clients"} {
			if answered(err, kind) {
				return fmt.Errorf("%w: %w", errServer, err)
			}
		}
		return err
	}
	return fmt.Errorf("%w: %w", errServer, err)
}

func (q *Queue) open(ctx context.Context) error {
	if err := q.cfg.Server.check(); err != nil {
		return err
	}
	secure, err := q.cfg.Server.TLS.load()
	if err != nil {
		return err
	}
	links := newLinks(q.cfg.Timeout, q.cfg.Server.TLS)
	ctx, cancel := context.WithTimeout(ctx, openWithin*q.cfg.Timeout)
	defer cancel()
	ctxEnded := context.AfterFunc(ctx, links.cut)
	client, err := connect(q.cfg.client(links, secure))
	err = passing(err)
	if err == nil {
		err = q.inspect(ctx, client)
	}
	if !ctxEnded() { // and all was cut, which is what err says, if anything
		err = ctx.Err()
	}
	if err != nil {
		links.refuse()
		if client != nil {
			client.Close()
		}
		links.cut()
		return err
	}
	q.client, q.links = client, links
	hearing, deafen := context.WithCancel(context.WithoutCancel(ctx))
	q.deafen = deafen
	q.hearing.Go(func() { q.listen(hearing) })
	return nil
}

// connect makes the client. The library begins with HELLO, which carries the
// password, and does without it where the server says that it does not know
// the command. Valkey 9 says that only to whom it knows, and NOAUTH to others,
// as if no password had been sent: then the older version of the protocol,
// which begins with AUTH, tells whether the password is right.
func connect(options rueidis.ClientOption) (rueidis.Client, error) {
	client, err := rueidis.NewClient(options)
	if !answered(err, "NOAUTH") {
		return client, err
	}
	options.AlwaysRESP2 = true
	return rueidis.NewClient(options)
}

// Close ends listening and closes the connections.
func (q *Queue) Close() error {
	if q.client == nil {
		return nil
	}
	q.closeOne.Do(func() {
		q.deafen()
		q.links.refuse()
		q.hearing.Wait()
		q.client.Close()
		q.links.cut()
	})
	return nil
}

const (
	// bufferSize is of a connection's buffers, each. What is sent and read is
	// small, but for a Push, which flows through.
	bufferSize = 32 << 10
	// ringScale is the power of two of how many round trips may be under way on
	// a connection.
	ringScale = 8
	// maxRedirections is how often a command follows a cluster's directions.
	maxRedirections = 8
	// topologyInterval is how often sentinels are asked for the master, beside
	// what they tell by themselves.
	topologyInterval = 5 * time.Second
)

// client is how the library is used. secure tells it whether there is TLS; it is
// the links that agree on it.
func (c *Config) client(l *links, secure *tls.Config) rueidis.ClientOption {
	// The keep-alive is also the gap between pings on a connection that is
	// silent: a server that hangs is noticed within two timeouts.
	dialer := net.Dialer{Timeout: c.Timeout, KeepAlive: c.Timeout}
	return rueidis.ClientOption{
		InitAddress: c.Server.Addresses,
		Username:    c.Server.Username,
		Password:    c.Server.Password,
		SelectDB:    c.Server.Database,
		TLSConfig:   secure,
		DialCtxFn:   l.dial,
		Dialer:      dialer,
		Sentinel: rueidis.SentinelOption{
			MasterSet: c.Server.SentinelMaster, Username: c.Server.SentinelUsername, Password: c.Server.SentinelPassword,
			Dialer: dialer, TLSConfig: secure, TopologyRefreshInterval: topologyInterval,
		},
		ClusterOption:    rueidis.ClusterOption{MaxMovedRedirections: maxRedirections},
		ConnWriteTimeout: c.Timeout,

		// The library repeats only what reads, and that until the context ends.
		// XADD, XREADGROUP and the others of ours it never repeats, and nor do
		// we: whether a command that broke off was done is not known, but an
		// entry too many is passed over by the store, and one too few is found
		// there. So all that repeating would do is to hide an outage.
		DisableRetry: true,
		// Of no use here, and proxies and old servers without RESP3 lack it.
		DisableCache: true,
		// Always by the pipeline, as only there a command obeys its context; one
		// connection, with small buffers and no names and no pools of others.
		AlwaysPipelining:    true,
		PipelineMultiplex:   -1,
		BlockingPipeline:    -1,
		RingScaleEachConn:   ringScale,
		ReadBufferEachConn:  bufferSize,
		WriteBufferEachConn: bufferSize,
		ClientSetInfo:       rueidis.DisableClientSetInfo,
	}
}

// inspect checks the server's version and what it does when its memory is full.
func (q *Queue) inspect(ctx context.Context, client rueidis.Client) error {
	ctx, cancel := q.bounded(ctx)
	defer cancel()
	info, err := client.Do(ctx, client.B().Info().Section("server").Build()).ToString()
	if answered(err, "NOPERM") {
		q.log.Warn("the version of Redis is unknown, as INFO is not permitted", zap.Error(err))
	} else if err != nil {
		return fmt.Errorf("asking for the version: %w", passing(err))
	} else if err := checkVersion(info); err != nil {
		return err
	}
	settings, err := client.Do(ctx, client.B().ConfigGet().Parameter("maxmemory-policy").Build()).AsStrMap()
	if _, refused := errors.AsType[*rueidis.RedisError](err); refused {
		q.log.Debug("Redis does not tell its maxmemory-policy", zap.Error(q.cfg.Server.hide(err)))
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking for maxmemory-policy: %w", passing(err))
	}
	if policy := settings["maxmemory-policy"]; policy != "" && policy != "noeviction" {
		q.log.Warn("Redis may evict queues of batches when its memory is full, which delays batches; set maxmemory-policy to noeviction",
			zap.String("maxmemory_policy", policy))
	}
	return nil
}

// checkVersion wants 6.2, for XAUTOCLAIM. Valkey and others tell in
// redis_version with which version of Redis they are compatible.
func checkVersion(info string) error {
	_, after, found := strings.Cut(info, "redis_version:")
	if !found {
		return errors.New("the server does not tell its version")
	}
	version, _, _ := strings.Cut(after, "\n")
	version = strings.TrimSpace(version)
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 2 {
		return fmt.Errorf("the server has the version %q, and Redis 6.2 or Valkey is needed", version)
	}
	major, err1 := strconv.Atoi(numbers[0])
	minor, err2 := strconv.Atoi(numbers[1])
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("reading the server's version %q: %w", version, err)
	}
	if major < 6 || major == 6 && minor < 2 {
		return fmt.Errorf("the server has version %s of Redis, and 6.2 or newer or Valkey is needed", version)
	}
	return nil
}
