package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/rueidis"

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
// which begins with AUTH, reports whether the password is right.
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
