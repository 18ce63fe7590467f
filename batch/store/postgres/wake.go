package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
)

// channel is where instances tell each other that there is something new.
const channel = "tidegate"

const notify = `SELECT pg_notify('` + channel + `', '')`

// Wake delivers a value after a batch was created, started or cancelled, by
// whatever instance. What happens during an outage is one value after it.
func (s *Store) Wake() <-chan struct{} { return s.wake }

func (s *Store) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Pauses between attempts to listen again.
const (
	listenPauseMin = 100 * time.Millisecond
	listenPauseMax = 5 * time.Second
)

// listen passes on notifications until ctx ends, on a connection of its own.
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
	c, err := pgx.ConnectConfig(ctx, s.cfg.ConnConfig)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }() // it is over in any case
	if _, err := c.Exec(ctx, `LISTEN `+channel); err != nil {
		return err
	}
	for {
		s.ring()
		if _, err := c.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
