package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidegate/tidegate/batch"
)

// TestTranslate covers errors of the server and of connections.
func TestTranslate(t *testing.T) {
	said := func(code string) error { return &pgconn.PgError{Code: code, Message: "said"} }
	ended, end := context.WithCancel(t.Context())
	end()
	for _, c := range []struct {
		err  error
		want error // nil: unchanged
	}{
		{said("53100"), batch.ErrNoSpace},
		{said("23505"), batch.ErrConflict},
		{said("23503"), nil},
		{said("40001"), batch.ErrUnavailable},
		{said("40P01"), batch.ErrUnavailable},
		{said("57P01"), batch.ErrUnavailable},
		{said("57P02"), batch.ErrUnavailable},
		{said("57P03"), batch.ErrUnavailable},
		{said("57014"), batch.ErrUnavailable},
		{said("53200"), batch.ErrUnavailable},
		{said("53300"), batch.ErrUnavailable},
		{said("25006"), batch.ErrUnavailable},
		{said("25P03"), batch.ErrUnavailable},
		{said("25P04"), batch.ErrUnavailable},
		{said("55P03"), batch.ErrUnavailable},
		{said("08006"), batch.ErrUnavailable},
		{said("58030"), batch.ErrUnavailable},
		{said("XX001"), batch.ErrUnavailable},
		{said("26000"), errShared},
		{said("42P05"), errShared},
		{said("42601"), nil},
		{said(""), nil},
		{io.ErrUnexpectedEOF, batch.ErrUnavailable},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, batch.ErrUnavailable},
		{pgconn.ErrConnClosed, batch.ErrUnavailable},
		{context.DeadlineExceeded, batch.ErrUnavailable}, // our own: the caller's has not passed
		{batch.ErrStale, nil},
		{errors.New("other"), nil},
	} {
		err := fmt.Errorf("doing: %w", c.err)
		got := translate(t.Context(), err)
		if !errors.Is(got, c.err) {
			t.Errorf("%v has lost %v", got, c.err)
		}
		for _, known := range []error{batch.ErrNoSpace, batch.ErrConflict, batch.ErrUnavailable} {
			if errors.Is(got, known) != errors.Is(c.want, known) {
				t.Errorf("%v became %v, want %v", c.err, got, c.want)
			}
		}
	}
	for _, err := range []error{said("57014"), io.ErrUnexpectedEOF, context.Canceled} {
		if got := translate(ended, err); !errors.Is(got, context.Canceled) || errors.Is(got, batch.ErrUnavailable) {
			t.Errorf("once the caller has gone %v becomes %v", err, got)
		}
	}
}
