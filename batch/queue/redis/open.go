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

// openWithin limits the duration of Open, in timeouts, because several nodes or sentinels
// may be tried one after the other.
const openWithin = 5

// Open connects, checks that the server is supported, and starts to listen. After an error
// no connection is left open. The error is batch.ErrUnavailable if the server may be
// available later.
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

// errServer marks temporary errors of requests to a server.
var errServer = errors.New("no answer")

// passing marks an error of a server as temporary, unless it is a permanent refusal.
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
	if !ctxEnded() { // otherwise all connections were closed, which is the cause of err
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

// connect creates the client. The library begins with HELLO, which contains the password,
// and falls back if the server does not know the command. Valkey 9 reports that only to
// authenticated clients, and NOAUTH to others, as if there was no password. In this case
// the older version of the protocol, which begins with AUTH, shows whether the password
// is right.
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
	// bufferSize is the size of each buffer of a connection. Messages are small, except
	// those of Push, which are streamed.
	bufferSize = 32 << 10
	// ringScale is the base-2 logarithm of the number of concurrent round trips on a
	// connection.
	ringScale = 8
	// maxRedirections limits the redirections of a command in a cluster.
	maxRedirections = 8
	// topologyInterval is the interval of queries to sentinels for the master, in addition
	// to their notifications.
	topologyInterval = 5 * time.Second
)

// client returns the options of the library. secure only tells it whether TLS is used;
// links does the handshake.
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

		// The library retries only read commands, until the context ends. XADD,
		// XREADGROUP and the other commands of this package are not retried: it is
		// unknown whether an interrupted command was executed, but the store skips
		// additional entries and finds missing ones. So retries would only hide an
		// outage.
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
