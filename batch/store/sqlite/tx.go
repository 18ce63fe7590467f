package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// statement is one SQL statement of the driver. All are declared before the database is
// opened, so that each is prepared once and its plan can be tested.
type statement struct {
	text    string
	purpose purpose
}

// statements is complete once the package is initialized.
var statements []*statement

// reads declares a statement that every connection can run.
func reads(text string) *statement { return declare(text, reading) }

// writes declares a statement for the writing connection.
func writes(text string) *statement { return declare(text, writing) }

func declare(text string, a purpose) *statement {
	s := &statement{text, a}
	statements = append(statements, s)
	return s
}

func (p *pool) prepare(ctx context.Context) error {
	p.prepared = make(map[*statement]*sql.Stmt, len(statements))
	for _, s := range statements {
		if s.purpose > p.purpose {
			continue
		}
		prepared, err := p.db.PrepareContext(ctx, s.text)
		if err != nil {
			return fmt.Errorf("preparing %q: %w", s.text, err)
		}
		p.prepared[s] = prepared
	}
	return nil
}

// tx is a transaction that runs.
type tx struct {
	sql      *sql.Tx
	prepared map[*statement]*sql.Stmt
	now      time.Time // when it began, by the database's clock
}

// begin returns s for one execution. No statement begins after the caller's context
// has ended; a running statement is not interrupted.
func (t *tx) begin(ctx context.Context, s *statement) (context.Context, *sql.Stmt, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	ctx = context.WithoutCancel(ctx)
	return ctx, t.sql.StmtContext(ctx, t.prepared[s]), nil
}

// exec returns the number of rows that s changed.
func (t *tx) exec(ctx context.Context, s *statement, args ...any) (int, error) {
	ctx, prepared, err := t.begin(ctx, s)
	if err != nil {
		return 0, err
	}
	result, err := prepared.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

// all returns the results of scan for every row of s.
func all[T any](ctx context.Context, t *tx, s *statement, scan func(store.Row) (T, error), args ...any) (out []T, err error) {
	ctx, prepared, err := t.begin(ctx, s)
	if err != nil {
		return nil, err
	}
	rows, err := prepared.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// one returns the result of scan for the first row of s, or batch.ErrNotFound if
// there is none.
func one[T any](ctx context.Context, t *tx, s *statement, scan func(store.Row) (T, error), args ...any) (T, error) {
	var none T
	ctx, prepared, err := t.begin(ctx, s)
	if err != nil {
		return none, err
	}
	v, err := scan(prepared.QueryRowContext(ctx, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return none, batch.ErrNotFound
	}
	return v, err
}

// errClosed is for a store before Open and after Close.
var errClosed = fmt.Errorf("%w: it is not open", batch.ErrUnavailable)

// read runs f in a transaction that sees one committed state.
func (s *Store) read(ctx context.Context, doing string, f func(*tx) error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	return s.run(ctx, doing, s.reader, f)
}

// write runs f in a transaction. It is durable if write returns nil, and has no
// effect otherwise.
func (s *Store) write(ctx context.Context, doing string, f func(*tx) error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	return s.run(ctx, doing, s.writer, f)
}

func (s *Store) run(ctx context.Context, doing string, p *pool, f func(*tx) error) error {
	if p == nil {
		return fmt.Errorf("%s: %w", doing, errClosed)
	}
	if err := p.run(ctx, s.clock, f); err != nil {
		return fmt.Errorf("%s: %w", doing, s.translate(err))
	}
	return nil
}
