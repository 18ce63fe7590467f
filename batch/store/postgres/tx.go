package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// tx is a transaction that runs.
type tx struct {
	pgx.Tx
	now time.Time // when it began, by the database's clock
}

// micros is when the transaction began, as times are stored.
func (t *tx) micros() int64 { return store.Micros(t.now) }

// exec tells how many rows a statement changed.
func (t *tx) exec(ctx context.Context, sql string, args ...any) (int, error) {
	tag, err := t.Exec(ctx, sql, args...)
	return int(tag.RowsAffected()), err
}

// all gives what scan makes of every row.
func all[T any](ctx context.Context, t *tx, scan func(store.Row) (T, error), sql string, args ...any) ([]T, error) {
	rows, err := t.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (T, error) { return scan(r) })
}

// one gives what scan makes of the first row, batch.ErrNotFound when there is
// none.
func one[T any](ctx context.Context, t *tx, scan func(store.Row) (T, error), sql string, args ...any) (T, error) {
	v, err := scan(t.QueryRow(ctx, sql, args...))
	if errors.Is(err, pgx.ErrNoRows) {
		var none T
		return none, batch.ErrNotFound
	}
	return v, err
}

// errClosed is for a store before Open and after Close.
var errClosed = fmt.Errorf("%w: it is not open", batch.ErrUnavailable)

var (
	reading = pgx.TxOptions{AccessMode: pgx.ReadOnly, IsoLevel: pgx.RepeatableRead}
	writing = pgx.TxOptions{AccessMode: pgx.ReadWrite, IsoLevel: pgx.ReadCommitted}
)

// read runs f in a transaction that sees one committed state.
func (s *Store) read(ctx context.Context, doing string, f func(*tx) error) error {
	return s.run(ctx, doing, reading, f)
}

// write runs f in a transaction that is durable when write returns nil. After
// batch.ErrUnavailable it may be.
func (s *Store) write(ctx context.Context, doing string, f func(*tx) error) error {
	return s.run(ctx, doing, writing, f)
}

// Deadlocks and serialization failures are rare, as rows are locked in one
// order; what meets one is repeated, after a pause of up to this and more.
const (
	repeatPause = 10 * time.Millisecond
	repeatLimit = 8
)

func (s *Store) run(ctx context.Context, doing string, how pgx.TxOptions, f func(*tx) error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.pool == nil {
		return fmt.Errorf("%s: %w", doing, errClosed)
	}
	for repeated := 0; ; repeated++ {
		err := s.transact(ctx, how, f)
		if err == nil {
			return nil
		}
		if repeated == repeatLimit || !repeatable(err) {
			return fmt.Errorf("%s: %w", doing, s.translate(err))
		}
		timer := time.NewTimer(rand.N(repeatPause << repeated))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", doing, ctx.Err())
		case <-timer.C:
		}
	}
}

func (s *Store) transact(ctx context.Context, how pgx.TxOptions, f func(*tx) error) error {
	return pgx.BeginTxFunc(ctx, s.pool, how, func(inner pgx.Tx) error {
		t := &tx{Tx: inner}
		var now int64
		if err := inner.QueryRow(ctx, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`).Scan(&now); err != nil {
			return err
		}
		t.now = time.UnixMicro(now + s.skew.Load()).UTC()
		return f(t)
	})
}
