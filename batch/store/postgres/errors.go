package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate/batch"
)

// Codes of PostgreSQL's errors
// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	diskFull             = "53100"
	readOnlyTransaction  = "25006"
	queryCanceled        = "57014" // statement_timeout
	lockNotAvailable     = "55P03"
)

// errKeyTaken says that another instance was quicker to use an idempotency key.
var errKeyTaken = errors.New("idempotency key was used just now")

// repeatable tells whether a transaction that failed may go well when it is
// run again at once. It has left nothing.
func repeatable(err error) bool {
	if errors.Is(err, errKeyTaken) {
		return true
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == serializationFailure || e.Code == deadlockDetected)
}

// translate gives PostgreSQL's errors the names that callers know. Others stay
// as they are, those of contexts among them.
func (s *Store) translate(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return named(e, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && !connecting(err) {
		return err
	}
	if connecting(err) || broken(err) {
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	}
	return err
}

func named(e *pgconn.PgError, err error) error {
	switch class := e.Code[:2]; {
	case e.Code == uniqueViolation:
		return fmt.Errorf("%w: %w", batch.ErrConflict, err)
	case e.Code == diskFull:
		return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
	case e.Code == serializationFailure, e.Code == deadlockDetected, e.Code == readOnlyTransaction, e.Code == queryCanceled, e.Code == lockNotAvailable,
		class == "08",                // connection exceptions
		class == "53",                // too many connections, out of memory
		class == "57", class == "58", // shutting down, starting, I/O errors
		e.Code == "25P03", class == "XX": // idle in transaction; internal errors, as of a disk
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	}
	return err
}

// connecting tells whether no connection could be had.
func connecting(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// broken tells whether a connection broke off.
func broken(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "closed pool")
}
