package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Config is the configuration of a Store.
type Config struct {
	// URL is a connection string as libpq takes it
	// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
	URL string
	// MaxConns limits the connections, including the one that listens. Default:
	// pool_max_conns of the URL, as in pgxpool, or else 8.
	MaxConns int
	// ConnectTimeout limits a connection attempt. Default 5 s.
	ConnectTimeout time.Duration
	// StatementTimeout limits each statement. Default 30 s. A whole operation may take
	// twice as long: after that the server counts as unavailable.
	StatementTimeout time.Duration
	// Logger logs outages. Default: none.
	Logger *zap.Logger
}

const (
	defaultMaxConns         = 8
	defaultConnectTimeout   = 5 * time.Second
	defaultStatementTimeout = 30 * time.Second
	oldest                  = 13 // PostgreSQL
	// unusedTimeout is the time after which an unused connection is closed, so that a
	// gateway holds only the connections that it needs. unusedCheck is the time between
	// two checks of connections.
	unusedTimeout = time.Minute
	unusedCheck   = 15 * time.Second
	// idleTimeout limits the idle time of a transaction, which holds locks: the
	// transaction of a suspended or disconnected gateway must not prevent other
	// gateways from claiming its work.
	idleTimeout = 5 * time.Second
)

// Store is a [batch.Store] in PostgreSQL.
type Store struct {
	cfg  *pgxpool.Config
	log  *zap.Logger
	skew atomic.Int64 // microseconds that tests move the clock by
	wake chan struct{}

	// patience limits the duration of an operation, including the wait for a
	// connection and retries.
	patience time.Duration
	silence  time.Duration // shorter in tests
	idle     time.Duration // shorter in tests

	// life is read-locked by every operation and write-locked by Open and Close,
	// which therefore wait for running operations.
	life      sync.RWMutex
	pool      *pgxpool.Pool // guarded by life; nil while the store is not open
	listening context.CancelFunc
	listener  sync.WaitGroup
}

// New returns a store that is not open. It does no I/O. The error for an invalid URL
// does not contain the password.
func New(c Config) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, errURL
	}
	if c.MaxConns == 0 {
		if c.MaxConns, err = maxConnsIn(c.URL); err != nil {
			return nil, err
		}
	}
	def(&c.MaxConns, defaultMaxConns)
	def(&c.ConnectTimeout, defaultConnectTimeout)
	def(&c.StatementTimeout, defaultStatementTimeout)
	if c.MaxConns < 2 {
		return nil, fmt.Errorf("max_conns must be at least 2, not %d", c.MaxConns)
	}
	cfg.MaxConns = int32(min(c.MaxConns, 1<<20)) - 1 // one more connection listens
	cfg.MinConns, cfg.MinIdleConns = 0, 0
	cfg.MaxConnIdleTime, cfg.HealthCheckPeriod = unusedTimeout, unusedCheck
	cfg.ConnConfig.ConnectTimeout = c.ConnectTimeout
	cfg.ConnConfig.RuntimeParams["application_name"] = "tidegate"
	cfg.AfterConnect = settings(c.StatementTimeout)
	// If the context of a call ends, its statement is cancelled, which releases
	// its locks and keeps the connection.
	cfg.ConnConfig.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: giveUp}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	s := &Store{cfg: cfg, log: c.Logger, wake: make(chan struct{}, 1), patience: 2 * c.StatementTimeout, silence: silence, idle: idle}
	cfg.ShouldPing = s.probe
	return s, nil
}

var errURL = errors.New("the URL of the database is none that PostgreSQL's libpq would take: want postgres://user:password@host:port/database?sslmode=…, special characters percent-encoded")

// maxConnsIn returns the value of pool_max_conns in a URL, 0 if it has none.
func maxConnsIn(url string) (int, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return 0, errURL
	}
	text, ok := cfg.RuntimeParams["pool_max_conns"]
	if !ok {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 || n > 10_000 {
		return 0, fmt.Errorf("pool_max_conns of the URL must be a whole number from 2 to 10000, not %q", text)
	}
	return n, nil
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// settings sets the session parameters for durability and time limits, overriding
// those of the server, the role and the database. A commit is on disk before it is
// reported; the standby part of synchronous_commit is not changed. They are not
// startup parameters of the connection, which poolers refuse or ignore.
//
// It is part of connecting and has the same time limit, because no other limit
// applies and the connection occupies the pool meanwhile.
func settings(statement time.Duration) func(context.Context, *pgx.Conn) error {
	const setting = `SELECT set_config('statement_timeout', '%d', false), set_config('idle_in_transaction_session_timeout', '%d', false),
		set_config('tidegate.session', '%s', false),
		CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', false) END`
	return func(ctx context.Context, c *pgx.Conn) error {
		session := rand.Text()
		c.PgConn().CustomData()[sessionKey] = session
		err := within(ctx, c.Config().ConnectTimeout, func(ctx context.Context) error {
			_, err := c.Exec(ctx, fmt.Sprintf(setting, statement.Milliseconds(), idleTimeout.Milliseconds(), session))
			return err
		})
		if err != nil {
			return fmt.Errorf("setting up a connection: %w", err)
		}
		return nil
	}
}

// sessionKey is the key of a connection's value of tidegate.session.
const sessionKey = "session"

// errShared reports a pooler that pools transactions: settings, prepared statements
// and LISTEN of a connection would apply to other sessions.
var errShared = fmt.Errorf("%w: its session is not this connection's: a pooler in between must pool sessions, not transactions", batch.ErrUnavailable)

// idle is the idle time after which a connection is probed before it is used.
const idle = time.Second

// probe pings the server on an idle connection before it is used. If there is no
// response, for example because its host is down, the other idle connections of the
// pool are closed at once too, because each probe would take the same time. true
// makes the pool close the connection and use another.
func (s *Store) probe(ctx context.Context, c pgxpool.ShouldPingParams) bool {
	if c.IdleDuration < s.idle {
		return false
	}
	err := within(ctx, s.cfg.ConnConfig.ConnectTimeout, c.Conn.Ping)
	if err != nil && ctx.Err() == nil && s.pool != nil { // nil while it opens
		s.pool.Reset()
	}
	return c.Conn.IsClosed()
}

// Identity names a database without its password: the same for all that mean
// the same one.
func Identity(url string) (string, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return "", errURL
	}
	return fmt.Sprintf("postgres %s/%s as %s", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), cfg.Database, cfg.User), nil
}

// errOpen reports that Open was called on an open store.
var errOpen = errors.New("store is open already")

// Open connects, migrates and begins to listen for other instances. Leases of
// others stay. It returns batch.ErrNewerSchema for a database that a newer version
// wrote, batch.ErrUnavailable for one that is unreachable or a standby, and another
// error if the server refuses the user or does not have the database.
func (s *Store) Open(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.pool != nil {
		return errOpen
	}
	pool, err := pgxpool.NewWithConfig(ctx, s.cfg)
	if err != nil {
		return fmt.Errorf("opening store: %w", translate(ctx, err))
	}
	if err := prepare(ctx, pool); err != nil {
		pool.Close()
		if !refused(err) {
			err = translate(ctx, err)
		}
		return fmt.Errorf("opening store %s: %w", s.name(), err)
	}
	s.pool = pool
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.listening = stop
	s.listener.Go(func() { s.listen(listening) })
	return nil
}

// name is where the database is, for people.
func (s *Store) name() string {
	c := s.cfg.ConnConfig
	return fmt.Sprintf("%s/%s", net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), c.Database)
}

// prepare checks the server and brings the schema up to date.
func prepare(ctx context.Context, pool *pgxpool.Pool) error {
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		err := within(ctx, pool.Config().ConnConfig.ConnectTimeout, func(ctx context.Context) error { return examine(ctx, c.Conn()) })
		if err != nil {
			return err
		}
		return migrate(ctx, c.Conn())
	})
}

// errStandby is for a server that does not take writes, but may once it is
// promoted.
var errStandby = fmt.Errorf("%w: the server is a standby, which cannot be written", batch.ErrUnavailable)

// Errors of servers and databases that cannot be used.
var (
	errOldServer = errors.New("the server is too old")
	errEncoding  = errors.New("the database is not in UTF-8")
)

// examine checks that the server has the properties on which the statements rely.
func examine(ctx context.Context, c *pgx.Conn) error {
	var (
		version           int
		release, encoding string
		standby           bool
	)
	const asking = `SELECT current_setting('server_version_num')::integer, current_setting('server_version'), current_setting('server_encoding'), pg_is_in_recovery()`
	if err := c.QueryRow(ctx, asking).Scan(&version, &release, &encoding, &standby); err != nil {
		return fmt.Errorf("asking for the version: %w", err)
	}
	if standby {
		return errStandby
	}
	return suitable(version, release, encoding)
}

func suitable(version int, release, encoding string) error {
	if version < oldest*10_000 {
		return fmt.Errorf("%w: it is PostgreSQL %s, and %d or newer is needed", errOldServer, release, oldest)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%w but in %s", errEncoding, encoding)
	}
	return nil
}

// Close waits for running operations and closes all connections. It can be called again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.pool == nil {
		return nil
	}
	s.listening()
	s.listener.Wait()
	s.pool.Close()
	s.pool = nil
	return nil
}

// Now is the database's clock.
func (s *Store) Now(ctx context.Context) (now time.Time, err error) {
	err = s.read(ctx, "reading the clock", func(t *tx) error {
		now = t.now
		return nil
	})
	return now, err
}

// askWritable is for a transaction of a write.
var askWritable = declare(`SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean`)

// Ping checks that the database is writable.
func (s *Store) Ping(ctx context.Context) error {
	return s.write(ctx, "pinging store", func(t *tx) error {
		writable, err := one(ctx, t, store.Value[bool], askWritable)
		if err == nil && !writable {
			err = errStandby
		}
		return err
	})
}

// Capabilities implements batch.Store.
func (s *Store) Capabilities() batch.StoreCapabilities {
	return batch.StoreCapabilities{Membership: s, Changes: s, Connections: s}
}

var _ batch.Store = (*Store)(nil)
