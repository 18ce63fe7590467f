package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// statements are all statements of the driver except migrations, so that their plans
// can be tested. It is complete after the initialization of the package.
var statements []string

func declare(text string) string {
	statements = append(statements, text)
	return text
}

// tx is a transaction that runs.
type tx struct {
	conn *pgx.Conn
	now  time.Time // when it began, by the database's clock
	last pgx.Batch
}

// micros is when the transaction began, as times are stored.
func (t *tx) micros() int64 { return store.Micros(t.now) }

// later has a statement run with the commit, in one round trip for all of them.
func (t *tx) later(sql string, args ...any) { t.last.Queue(sql, args...) }

// exec returns the number of rows that a statement changed.
func (t *tx) exec(ctx context.Context, sql string, args ...any) (int, error) {
	tag, err := t.conn.Exec(ctx, sql, args...)
	return int(tag.RowsAffected()), err
}

// nameless reports whether a statement searches for a text that no column can hold,
// because it has a NUL or is not UTF-8. The server would return an error, but the
// correct result is that no row matches.
func nameless(sql string, args []any) bool {
	if !strings.HasPrefix(sql, "SELECT") {
		return false
	}
	for _, arg := range args {
		if text, ok := arg.(string); ok && unholdable(text) {
			return true
		}
	}
	return false
}

// unholdable reports whether no column of text can hold s.
func unholdable(s string) bool { return !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 }

// all returns the results of scan for every row.
func all[T any](ctx context.Context, t *tx, scan func(store.Row) (T, error), sql string, args ...any) ([]T, error) {
	if nameless(sql, args) {
		return nil, nil
	}
	rows, err := t.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return collect(rows, scan)
}

func collect[T any](rows pgx.Rows, scan func(store.Row) (T, error)) ([]T, error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (T, error) { return scan(r) })
}

// one returns the result of scan for the first row, or batch.ErrNotFound if there is
// none.
func one[T any](ctx context.Context, t *tx, scan func(store.Row) (T, error), sql string, args ...any) (T, error) {
	var none T
	if nameless(sql, args) {
		return none, batch.ErrNotFound
	}
	v, err := scan(t.conn.QueryRow(ctx, sql, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		return none, batch.ErrNotFound
	}
	return v, err
}

// errClosed is for a store before Open and after Close.
var errClosed = fmt.Errorf("%w: it is not open", batch.ErrUnavailable)

// The statements that begin transactions. All statements of a read see the same
// state; each statement of a write sees the commits before its start, or before it
// acquired its locks.
const (
	reading = `BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY`
	writing = `BEGIN ISOLATION LEVEL READ COMMITTED`
)

const planEach = `SET LOCAL plan_cache_mode = force_custom_plan`

var readClock = declare(`SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, coalesce(current_setting('tidegate.session', true), '')`)

// read runs f in a transaction that sees one committed state.
func (s *Store) read(ctx context.Context, doing string, f func(*tx) error) error {
	return s.run(ctx, doing, reading, nil, f)
}

// report is read for statements that read many rows: each is planned with its
// arguments, because a generic plan underestimates the rows of a range or a status.
func (s *Store) report(ctx context.Context, doing string, f func(*tx) error) error {
	return s.run(ctx, doing, reading, func(b *pgx.Batch) { b.Queue(planEach) }, f)
}

// write runs f in a transaction that is durable when write returns nil. After
// batch.ErrUnavailable it may be.
func (s *Store) write(ctx context.Context, doing string, f func(*tx) error) error {
	return s.run(ctx, doing, writing, nil, f)
}

// writeAfter is write with statements that need no round trip of their own: they
// run as the transaction begins.
func (s *Store) writeAfter(ctx context.Context, doing string, first func(*pgx.Batch), f func(*tx) error) error {
	return s.run(ctx, doing, writing, first, f)
}

// Deadlocks and serialization failures are rare, because rows are locked in one
// order. The transaction is repeated after a random pause that grows.
const (
	repeatPause = 10 * time.Millisecond
	repeatLimit = 8
)

func (s *Store) run(ctx context.Context, doing, how string, first func(*pgx.Batch), f func(*tx) error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.pool == nil {
		return fmt.Errorf("%s: %w", doing, errClosed)
	}
	bounded, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for repeated := 0; ; repeated++ {
		began, err := s.transact(bounded, how, first, f)
		if err == nil {
			return nil
		}
		stale := !began && broken(err) // a connection that has died in the pool
		if stale || code(err) == readOnlyTransaction {
			s.pool.Reset() // others may have died with it, or lead to a server that is no primary any more
		}
		if repeated == repeatLimit || !stale && !repeatable(err) || !pause(bounded, repeatPause<<repeated) {
			return fmt.Errorf("%s: %w", doing, translate(ctx, err))
		}
	}
}

// pause waits for a random part of d, and reports whether ctx lets it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// transact runs a transaction and leaves the connection without one. It reports
// whether f was called.
func (s *Store) transact(ctx context.Context, how string, first func(*pgx.Batch), f func(*tx) error) (began bool, err error) {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer c.Release() // closes a connection that cannot be reused
	t := &tx{conn: c.Conn()}
	defer func() { err = t.rollBack(ctx, err) }()
	if err := t.begin(ctx, how, s.skew.Load(), first); err != nil {
		return false, err
	}
	if err := f(t); err != nil {
		return true, err
	}
	return true, t.commit(ctx)
}

// begin begins the transaction and reads the clock, which tests move by skew
// microseconds, and in whose session it does.
func (t *tx) begin(ctx context.Context, how string, skew int64, first func(*pgx.Batch)) error {
	var b pgx.Batch
	b.Queue(how)
	b.Queue(readClock).QueryRow(func(r pgx.Row) error {
		var now int64
		var session string
		err := r.Scan(&now, &session)
		t.now = time.UnixMicro(now + skew).UTC()
		if err == nil && session != t.conn.PgConn().CustomData()[sessionKey] {
			err = errShared
		}
		return err
	})
	if first != nil {
		first(&b)
	}
	return t.conn.SendBatch(ctx, &b).Close()
}

// errRolledBack is for a commit that the server turned into a rollback.
var errRolledBack = errors.New("the transaction was rolled back")

// commit sends the deferred statements and COMMIT. After a failed statement the
// server skips all following ones, including COMMIT.
func (t *tx) commit(ctx context.Context) error {
	var tag string
	t.last.Queue(`COMMIT`).Exec(func(done pgconn.CommandTag) error {
		tag = done.String()
		return nil
	})
	if err := t.conn.SendBatch(ctx, &t.last).Close(); err != nil {
		if code(err) == "" || broken(err) { // the outcome is unknown
			err = fmt.Errorf("%w: %w", batch.ErrUnknown, err)
		}
		return err
	}
	if tag != "COMMIT" {
		return errRolledBack
	}
	return nil
}

// giveUp limits the response time of the server to the cancellation of a statement or
// a transaction. After that the connection is closed.
const giveUp = 2 * time.Second

// rollBack rolls back a transaction that failed with err.
func (t *tx) rollBack(ctx context.Context, err error) error {
	if err == nil || t.conn.IsClosed() || t.conn.PgConn().TxStatus() == 'I' {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUp)
	defer cancel()
	if _, rollback := t.conn.Exec(ctx, `ROLLBACK`); rollback != nil {
		err = fmt.Errorf("%w (rolling back: %w)", err, rollback)
	}
	return err
}
