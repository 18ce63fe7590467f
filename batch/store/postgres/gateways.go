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
	announce = declare(`INSERT INTO gateways (id, host, role, place, since, until, loads, lines) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE SET role = excluded.role, until = excluded.until, loads = excluded.loads, lines = excluded.lines`)
	otherGateways = declare(`SELECT id, host, role, place, since, loads, lines FROM gateways WHERE id <> $1 AND until > $2 ORDER BY since, id LIMIT 1000`)
	// Rows of dead gateways are deleted after a while.
	forgetGateways = declare(`DELETE FROM gateways WHERE id = ANY (ARRAY(SELECT id FROM gateways WHERE until < $1 LIMIT 100 FOR UPDATE SKIP LOCKED))`)
	withdraw       = declare(`DELETE FROM gateways WHERE id = $1`)
)

// gatewayMemory is the time for which the row of a dead gateway is kept.
const gatewayMemory = time.Hour

func scanGateway(r store.Row) (p batch.Peer, err error) {
	var loads, lines string
	if err := r.Scan(&p.ID, &p.Host, &p.Role, &p.Place, store.TimeIn(&p.Since), &loads, &lines); err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(loads), &p.Loads); err != nil {
		return p, fmt.Errorf("reading loads of %s: %w", p.ID, err)
	}
	if err := json.Unmarshal([]byte(lines), &p.Lines); err != nil {
		return p, fmt.Errorf("reading lines in flight of %s: %w", p.ID, err)
	}
	return p, nil
}

// Announce implements batch.Membership.
func (s *Store) Announce(ctx context.Context, self batch.Peer, ttl time.Duration) (others []batch.Peer, err error) {
	loads, err := json.Marshal(self.Loads)
	if err != nil {
		return nil, fmt.Errorf("announcing gateway: %w", err)
	}
	lines, err := json.Marshal(self.Lines)
	if err != nil {
		return nil, fmt.Errorf("announcing gateway: %w", err)
	}
	err = s.write(ctx, "announcing gateway", func(t *tx) error {
		if _, err := t.exec(ctx, announce, self.ID, self.Host, string(self.Role), self.Place, t.micros(), store.Micros(t.now.Add(ttl)), string(loads), string(lines)); err != nil {
			return err
		}
		t.later(forgetGateways, store.Micros(t.now.Add(-gatewayMemory)))
		others, err = all(ctx, t, scanGateway, otherGateways, self.ID, t.micros())
		return err
	})
	return others, err
}

// Withdraw implements batch.Membership.
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
	l.Gateway = int(s.cfg.MaxConns) + 1 // one more connection listens
	err = s.read(ctx, "reading limits of connections", func(t *tx) error {
		admitted, err := one(ctx, t, store.Value[int64], connectionsAdmitted)
		l.Database = int(admitted)
		return err
	})
	return l, err
}
