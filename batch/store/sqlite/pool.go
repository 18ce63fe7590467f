package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// purpose is the kind of transactions of a pool.
type purpose int

const (
	reading purpose = iota
	writing
)

// readers is the number of reads that can run at once.
const readers = 4

// pragmas of both kinds of connections. Lists are applied in order.
var pragmas = map[purpose]url.Values{
	writing: {
		"_txlock":       {"immediate"}, // avoids transactions that begin as a read and become a write
		"_auto_vacuum":  {"incremental"},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // a commit survives a power cut
		"_pragma": {
			"fullfsync(1)", // and does so on macOS
			"checkpoint_fullfsync(1)",
			"cache_size(-16384)",           // KiB
			"wal_autocheckpoint(4096)",     // pages: 16 MiB
			"journal_size_limit(67108864)", // bytes
		},
	},
	reading: {
		"_query_only": {"1"},
		"_pragma":     {"cache_size(-4096)"},
	},
}

// source is the data source name of path for the driver.
func source(path string, a purpose) string {
	q := url.Values{
		"_busy_timeout": {"5000"}, // ms; only external tools can hold a lock
		"_foreign_keys": {"1"},
		"_defensive":    {"1"},
		"_dqs":          {"0"}, // a misspelt column is an error, not a string
		"_error_rc":     {"1"},
	}
	maps.Copy(q, pragmas[a])
	q["_pragma"] = append([]string{"temp_store(2)"}, q["_pragma"]...) // in memory
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// pool is the connections of one kind with their prepared statements.
type pool struct {
	db       *sql.DB
	purpose  purpose
	prepared map[*statement]*sql.Stmt
}

func openPool(ctx context.Context, path string, a purpose) (*pool, error) {
	db, err := sql.Open("sqlite", source(path, a))
	if err != nil {
		return nil, err
	}
	size := 1
	if a == reading {
		size = readers
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	p := &pool{db: db, purpose: a}
	if err := p.check(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// errNoWAL is for file systems without shared memory, such as NFS.
var errNoWAL = errors.New("its file system does not support write-ahead logging; use a local one")

func (p *pool) check(ctx context.Context) error {
	var mode string
	if err := p.db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("%w (journal mode %s)", errNoWAL, mode)
	}
	return nil
}

// close ends the connections; their statements end with them.
func (p *pool) close() error { return p.db.Close() }

// transact runs f in a transaction. The wait for a connection ends with ctx. A
// transaction that has begun is not interrupted: its statements are short, and the
// outcome of a commit is always known.
func (p *pool) transact(ctx context.Context, f func(*sql.Tx) error) (err error) {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if closing := conn.Close(); !errors.Is(closing, sql.ErrConnDone) {
			err = errors.Join(err, closing)
		}
	}()
	t, err := conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: p.purpose == reading})
	if err != nil {
		return err
	}
	defer func() { _ = t.Rollback() }() // when f panics: closing conn would wait for t
	if err := f(t); err != nil {
		if rollback := t.Rollback(); rollback != nil && !nothingToRollBack(rollback) {
			err = errors.Join(err, rollback)
			// The state of the connection is unknown: close it by returning
			// ErrBadConn from Raw.
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
		return err
	}
	return t.Commit()
}

// run is transact with the prepared statements.
func (p *pool) run(ctx context.Context, clock func() time.Time, f func(*tx) error) error {
	return p.transact(ctx, func(t *sql.Tx) error {
		return f(&tx{sql: t, prepared: p.prepared, now: clock()})
	})
}
