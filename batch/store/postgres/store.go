package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// Config says where the database is and how it is used.
type Config struct {
	// URL is a connection string as libpq takes it
	// (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING).
	URL string
	// MaxConns bounds the connections, that of Listen included. Default 16.
	MaxConns int
	// ConnectTimeout is how long a connection attempt may take. Default 5 s.
	ConnectTimeout time.Duration
	// StatementTimeout is how long a statement may take. Default 30 s.
	StatementTimeout time.Duration
	// Logger is told of outages. Default: nobody.
	Logger *zap.Logger
}

const (
	defaultMaxConns         = 16
	defaultConnectTimeout   = 5 * time.Second
	defaultStatementTimeout = 30 * time.Second
	minVersion              = 130000 // server_version_num of PostgreSQL 13
	// idleTimeout is how long a transaction may stand still, which holds locks:
	// that of a gateway that was stopped in its middle, or cut off, must not keep
	// the others from taking its work over.
	idleTimeout = 5 * time.Second
)

// Store is a [batch.Store] in PostgreSQL.
type Store struct {
	cfg  *pgxpool.Config
	log  *zap.Logger
	skew atomic.Int64 // microseconds that tests move the clock by
	wake chan struct{}

	// life is held for reading by every operation and for writing by Open and
	// Close, which therefore wait for what runs.
	life      sync.RWMutex
	pool      *pgxpool.Pool // guarded by life; nil while the store is not open
	listening context.CancelFunc
	listener  sync.WaitGroup
}

// New makes a store that is not open. It does no I/O. The error, for a URL that
// says nothing, has no part of the password.
func New(c Config) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, errURL
	}
	def(&c.MaxConns, defaultMaxConns)
	def(&c.ConnectTimeout, defaultConnectTimeout)
	def(&c.StatementTimeout, defaultStatementTimeout)
	if c.MaxConns < 2 {
		return nil, fmt.Errorf("max_conns must be at least 2, not %d", c.MaxConns)
	}
	cfg.MaxConns = int32(min(c.MaxConns, 1<<20))
	cfg.ConnConfig.ConnectTimeout = c.ConnectTimeout
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = "tidegate"
	params["statement_timeout"] = strconv.FormatInt(c.StatementTimeout.Milliseconds(), 10)
	params["idle_in_transaction_session_timeout"] = strconv.FormatInt(idleTimeout.Milliseconds(), 10)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return &Store{cfg: cfg, log: c.Logger, wake: make(chan struct{}, 1)}, nil
}

var errURL = errors.New("the URL of the database is none that PostgreSQL's libpq would take: want postgres://user:password@host:port/database?sslmode=…, special characters percent-encoded")

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
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

// errOpen says that Open was called on an open store.
var errOpen = errors.New("store is open already")

// Open connects, migrates and begins to listen for other instances. Leases of
// others stay. A database that a newer version wrote gives
// batch.ErrNewerSchema, one that cannot be reached batch.ErrUnavailable.
func (s *Store) Open(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.pool != nil {
		return errOpen
	}
	pool, err := pgxpool.NewWithConfig(ctx, s.cfg)
	if err != nil {
		return fmt.Errorf("opening store: %w", s.translate(err))
	}
	if err := prepare(ctx, pool); err != nil {
		pool.Close()
		return fmt.Errorf("opening store %s: %w", s.name(), s.translate(err))
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
		var version int
		if err := c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
			return fmt.Errorf("asking for the version: %w", err)
		}
		if version < minVersion {
			return fmt.Errorf("the server is PostgreSQL %d, and 13 or newer is needed", version/10000)
		}
		return migrate(ctx, c.Conn())
	})
}

// Close waits for what runs and closes all connections. It can be repeated.
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

// Ping asks whether the database can be written.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "pinging store", func(t *tx) error {
		var readOnly bool
		if err := t.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&readOnly); err != nil {
			return err
		}
		if readOnly {
			return fmt.Errorf("%w: the server is a standby, which cannot be written", batch.ErrUnavailable)
		}
		return nil
	})
}

var (
	_ batch.Store    = (*Store)(nil)
	_ batch.Registry = (*Store)(nil)
	_ batch.Waker    = (*Store)(nil)
)
