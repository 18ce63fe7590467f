package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	announce = declare(`INSERT INTO gateways (id, host, role, place, since, until, loads) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET role = excluded.role, until = excluded.until, loads = excluded.loads`)
	otherGateways = declare(`SELECT id, host, role, place, since, loads FROM gateways WHERE id <> $1 AND until > $2 ORDER BY since, id LIMIT 1000`)
	// The rows of gateways that died are of no use to anybody after a while.
	forgetGateways = declare(`DELETE FROM gateways WHERE id = ANY (ARRAY(SELECT id FROM gateways WHERE until < $1 LIMIT 100 FOR UPDATE SKIP LOCKED))`)
	withdraw       = declare(`DELETE FROM gateways WHERE id = $1`)
)

// gatewayMemory is how long the row of a gateway that died stays.
const gatewayMemory = time.Hour

func scanGateway(r store.Row) (a batch.Announcement, err error) {
	var loads string
	if err := r.Scan(&a.ID, &a.Host, &a.Role, &a.Place, store.TimeIn(&a.Since), &loads); err != nil {
		return a, err
	}
	if err := json.Unmarshal([]byte(loads), &a.Loads); err != nil {
		return a, fmt.Errorf("reading loads of %s: %w", a.ID, err)
	}
	return a, nil
}

// Announce says that a gateway is there, and gives the others.
func (s *Store) Announce(ctx context.Context, a batch.Announcement, ttl time.Duration) (others []batch.Announcement, err error) {
	loads, err := json.Marshal(a.Loads)
	if err != nil {
		return nil, fmt.Errorf("announcing gateway: %w", err)
	}
	err = s.write(ctx, "announcing gateway", func(t *tx) error {
		if _, err := t.exec(ctx, announce, a.ID, a.Host, string(a.Role), a.Place, t.micros(), store.Micros(t.now.Add(ttl)), string(loads)); err != nil {
			return err
		}
		t.later(forgetGateways, store.Micros(t.now.Add(-gatewayMemory)))
		others, err = all(ctx, t, scanGateway, otherGateways, a.ID, t.micros())
		return err
	})
	return others, err
}

// Withdraw says that a gateway leaves.
func (s *Store) Withdraw(ctx context.Context, id string) error {
	return s.write(ctx, "withdrawing gateway", func(t *tx) error {
		t.later(withdraw, id)
		return nil
	})
}

// Other connections are reserved for superusers and, since PostgreSQL 16, for
// pg_use_reserved_connections.
var connectionsAdmitted = declare(`SELECT current_setting('max_connections')::bigint
	- current_setting('superuser_reserved_connections')::bigint
	- coalesce(current_setting('reserved_connections', true), '0')::bigint`)

// ConnectionLimits implements batch.ConnectionLimiter.
func (s *Store) ConnectionLimits(ctx context.Context) (l batch.ConnectionLimits, err error) {
	l.Gateway = int(s.cfg.MaxConns) + 1 // and one listens
	err = s.read(ctx, "reading limits of connections", func(t *tx) error {
		admitted, err := one(ctx, t, store.Value[int64], connectionsAdmitted)
		l.Database = int(admitted)
		return err
	})
	return l, err
}
