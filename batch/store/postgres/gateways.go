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
	// A row that is new was written by no other transaction before.
	announce = declare(`INSERT INTO gateways (id, host, place, since, until, loads) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (id) DO UPDATE SET until = excluded.until, loads = excluded.loads RETURNING xmax = 0`)
	joinAlone     = declare(`SELECT pg_advisory_xact_lock($1)`)
	otherGateways = declare(`SELECT id, host, place, since, loads FROM gateways WHERE id <> $1 AND until > $2 ORDER BY since, id LIMIT 1000`)
	// The rows of gateways that died are of no use to anybody after a while.
	forgetGateways = declare(`DELETE FROM gateways WHERE id = ANY (ARRAY(SELECT id FROM gateways WHERE until < $1 LIMIT 100 FOR UPDATE SKIP LOCKED))`)
	withdraw       = declare(`DELETE FROM gateways WHERE id = $1`)
)

// joinLock is the advisory lock under which gateways come, one at a time: "tidejoin"
// in ASCII.
const joinLock = 0x746964656a6f696e

// gatewayMemory is how long the row of a gateway that died stays.
const gatewayMemory = time.Hour

func scanGateway(r store.Row) (a batch.Announcement, err error) {
	var loads string
	if err := r.Scan(&a.ID, &a.Host, &a.Place, store.TimeIn(&a.Since), &loads); err != nil {
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
		joins, err := one(ctx, t, store.Value[bool], announce, a.ID, a.Host, a.Place, t.micros(), store.Micros(t.now.Add(ttl)), string(loads))
		if err != nil {
			return err
		}
		if joins {
			// Of two that come at once one must see the other: it waits for
			// the other's commit.
			if _, err := t.exec(ctx, joinAlone, int64(joinLock)); err != nil {
				return err
			}
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
