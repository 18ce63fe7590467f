package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

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
	readOnlyTransaction  = "25006" // of a standby, too
	idleInTransaction    = "25P03" // idle_in_transaction_session_timeout
	transactionTimeout   = "25P04" // of PostgreSQL 17 and newer
	queryCanceled        = "57014" // statement_timeout
	lockNotAvailable     = "55P03"
	unknownDatabase      = "3D000"
	statementUnknown     = "26000" // that we have prepared
	statementKnown       = "42P05" // that we have not
)

// Classes of errors that pass, or that an administrator ends.
var passing = map[string]bool{
	"08": true, // connection exceptions
	"53": true, // too many connections, out of memory
	"57": true, // shutting down, starting, statement_timeout
	"58": true, // I/O errors
	"XX": true, // internal errors, as of a disk
}

// errKeyTaken reports that another instance used an idempotency key first.
var errKeyTaken = errors.New("idempotency key was used just now")

// code returns the SQLSTATE of an error, "" if it is not from the server.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// class returns the first two characters of the SQLSTATE of an error.
func class(err error) string {
	c := code(err)
	return c[:min(2, len(c))]
}

// repeatable reports whether a failed transaction had no effect and may succeed when
// it is repeated at once.
func repeatable(err error) bool {
	c := code(err)
	return errors.Is(err, errKeyTaken) || c == serializationFailure || c == deadlockDetected
}

// refused reports whether the server refuses the configuration: an unknown user, a
// wrong password, a database that does not exist.
func refused(err error) bool { return class(err) == "28" || code(err) == unknownDatabase }

// translate maps errors of PostgreSQL and of connections to the errors of package
// batch. If ctx, the caller's context, has ended, its error is returned. Other
// errors are unchanged.
func translate(ctx context.Context, err error) error {
	cause := ctx.Err()
	switch c := code(err); {
	case connecting(err) && !errors.Is(cause, context.Canceled): // with any SQLSTATE, because the cause may be temporary
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	case cause != nil && errors.Is(err, cause):
		return err
	case cause != nil && (c == queryCanceled || c == ""): // by its end
		return fmt.Errorf("%w: %w", cause, err)
	case c == uniqueViolation:
		return fmt.Errorf("%w: %w", batch.ErrConflict, err)
	case c == diskFull:
		return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
	case c == statementUnknown, c == statementKnown:
		return fmt.Errorf("%w: %w", errShared, err)
	case c == serializationFailure, c == deadlockDetected, c == readOnlyTransaction, c == idleInTransaction, c == transactionTimeout, c == lockNotAvailable, passing[class(err)],
		c == "" && (broken(err) || errors.Is(err, context.DeadlineExceeded)): // our own
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	default:
		return err
	}
}

// connecting reports whether no connection could be had.
func connecting(err error) bool {
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// broken reports whether a connection broke off.
func broken(err error) bool {
	if connecting(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	if c := code(err); c != "" {
		return c == "57P01" || c == "57P02" // the server ended the connection at its shutdown
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed)
}
