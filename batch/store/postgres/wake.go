package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"go.uber.org/zap"
)

// channel is the notification channel of the instances.
const channel = "tidegate"

var notify = declare(`SELECT pg_notify('` + channel + `', '')`)

// Wake delivers a value after any instance created, started or cancelled a batch.
// Changes during an outage are combined to one value after it.
func (s *Store) Wake() <-chan struct{} { return s.wake }

func (s *Store) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// silence is the time without notifications after which a listener pings the server.
const silence = 30 * time.Second

// Pauses between attempts to listen again.
const (
	listenPauseMin = 100 * time.Millisecond
	listenPauseMax = 5 * time.Second
)

// listen forwards notifications until ctx ends, on a separate connection.
func (s *Store) listen(ctx context.Context) {
	for pause := listenPauseMin; ; pause = min(2*pause, listenPauseMax) {
		began := time.Now()
		err := s.listenOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("listening for other gateways", zap.Error(err))
		if time.Since(began) > listenPauseMax {
			pause = listenPauseMin
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *Store) listenOnce(ctx context.Context) error {
	cfg := s.cfg.ConnConfig.Copy()
	// A deadline ends the wait, because there is no statement to cancel.
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
	}
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUp)
		defer cancel()
		_ = c.Close(ctx) // the error does not matter: the connection is dropped
	}()
	if err := within(ctx, s.patience, func(ctx context.Context) error {
		_, err := c.Exec(ctx, `LISTEN `+channel)
		return err
	}); err != nil {
		return err
	}
	for {
		s.ring()
		if err := s.hear(ctx, c); err != nil {
			return err
		}
	}
}

// hear waits for a notification. It returns nil when there was one.
func (s *Store) hear(ctx context.Context, c *pgx.Conn) error {
	for {
		err := within(ctx, s.silence, func(ctx context.Context) error {
			_, err := c.WaitForNotification(ctx)
			return err
		})
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := within(ctx, s.cfg.ConnConfig.ConnectTimeout, c.Ping); err != nil {
			return err
		}
	}
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
