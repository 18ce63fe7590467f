package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/pgtest"
)

// backAfter limits the time until batches continue once PostgreSQL is back.
const backAfter = 10 * time.Second

// Faults of PostgreSQL.
var postgresFaults = []fault{
	{name: "a fast restart", do: func(w *world) error { return w.servers.Postgres.Restart(pgtest.Fast) }},
	{name: "an immediate restart", do: func(w *world) error { return w.servers.Postgres.Restart(pgtest.Immediate) }},
	{name: "a minute away", do: func(w *world) error {
		if err := w.servers.Postgres.Stop(pgtest.Fast); err != nil {
			return err
		}
		<-time.After(time.Minute) // which is the fault
		return w.servers.Postgres.Start()
	}},
	{name: "connections exhausted", do: exhaust},
	{name: "backends terminated", do: func(w *world) error {
		ended := int64(0)
		for range 20 {
			n, err := w.sql(terminate)
			if err != nil {
				return err
			}
			ended += n
			<-time.After(between(w.random, 0, 150*time.Millisecond)) // the moment of the next
		}
		if ended < 20 {
			return fmt.Errorf("only %d backends were there to be terminated", ended)
		}
		return nil
	}},
	{name: "serialization failures", do: conflict},
	{name: "a black hole", do: func(w *world) error {
		for _, p := range w.proxies {
			p.Swallow()
		}
		<-time.After(between(w.random, 2*time.Second, 8*time.Second)) // how long it is one
		for _, g := range w.gateways {
			w.wantUnwell(g, "a black hole")
		}
		for _, p := range w.proxies {
			p.Heal()
			p.Cut()
		}
		return nil
	}},
	{name: "a black hole for one gateway", alone: true, do: func(w *world) error {
		i := w.random.IntN(len(w.gateways))
		p := w.proxies[i]
		p.Swallow()
		<-time.After(2*lease + between(w.random, 0, 3*time.Second)) // how long it is one
		w.wantUnwell(w.gateways[i], "a black hole")
		w.wantProgress(progressIn, "one gateway was cut off")
		p.Heal()
		return nil
	}},
}

// terminate ends all connections of gateways.
const terminate = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidegate'`

// sql runs statements in the gateways' database, and counts the rows of the last.
func (w *world) sql(statements string) (rows int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgx.Connect(ctx, w.backend.Database)
	if err != nil {
		return 0, err
	}
	tag, err := c.Exec(ctx, statements)
	return tag.RowsAffected(), errors.Join(err, c.Close(ctx))
}

// Transactions fail at random, depending on the seed, within a statement and at COMMIT,
// with serialization failures and deadlocks. Sequences count them, because these are not
// rolled back.
const (
	failures = `
		CREATE SEQUENCE chaos_chances;
		CREATE SEQUENCE chaos_failures;
		CREATE FUNCTION chaos_fail() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE
			chance BIGINT := hashint8extended(nextval('chaos_chances'), %d);
		BEGIN
			IF (chance & 1023) < 102 THEN
				PERFORM nextval('chaos_failures');
				IF (chance & 1024) = 0 THEN
					RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
				END IF;
				RAISE EXCEPTION 'deadlock detected' USING ERRCODE = 'deadlock_detected';
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER chaos_batches AFTER INSERT OR UPDATE ON batches FOR EACH STATEMENT EXECUTE FUNCTION chaos_fail();
		CREATE TRIGGER chaos_slices AFTER INSERT OR UPDATE ON slices FOR EACH STATEMENT EXECUTE FUNCTION chaos_fail();
		CREATE CONSTRAINT TRIGGER chaos_segments AFTER INSERT ON segments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chaos_fail();`
	noFailures = `DROP FUNCTION chaos_fail CASCADE; DROP SEQUENCE chaos_chances; DROP SEQUENCE chaos_failures`
	manyFailed = `SELECT 1 / (last_value / 50) FROM chaos_failures` // returns an error while there are fewer
)

// conflict has transactions fail.
func conflict(w *world) error {
	w.define(fmt.Sprintf(failures, w.random.Int64()))
	tidegatetest.Eventually(w.t, progressIn, "transactions to fail", func() bool {
		<-time.After(100 * time.Millisecond) // until they are counted again
		_, err := w.sql(manyFailed)
		return err == nil
	})
	w.define(noFailures)
	return nil
}

// define runs statements that change tables. They wait for others, and others
// for them: now and then one of them has to begin again.
func (w *world) define(sql string) {
	w.t.Helper()
	var err error
	defer func() {
		if err != nil {
			w.t.Log(err)
		}
	}()
	tidegatetest.Eventually(w.t, progressIn, "tables to be changed", func() bool { _, err = w.sql(sql); return err == nil })
}

// exhaust takes every connection that PostgreSQL has, for some seconds, until
// every gateway has felt it.
func exhaust(w *world) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	over := between(w.random, 3*time.Second, 6*time.Second)
	var feeling sync.WaitGroup
	defer feeling.Wait()
	feeling.Go(func() {
		defer cancel()
		<-time.After(over) // how long there are no connections
		for _, g := range w.gateways {
			if !tidegatetest.Poll(progressIn, func() bool { h, ok := w.healthOf(g); return ok && h.Status != "ok" }) {
				w.report("a gateway did not feel that there were no connections")
			}
		}
	})
	cfg, err := pgx.ParseConfig(w.backend.Database)
	if err != nil {
		return err
	}
	var taken []*pgx.Conn
	for ctx.Err() == nil {
		c, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			taken = append(taken, c)
			continue
		}
		// All connections are in use: those of the gateways are closed and occupied too.
		if len(taken) > 0 {
			_, err = taken[0].Exec(ctx, terminate)
		}
		if err != nil && ctx.Err() == nil {
			<-time.After(20 * time.Millisecond)
		}
	}
	err = nil
	for _, c := range taken {
		err = errors.Join(err, c.Close(context.Background()))
	}
	return err
}

// TestPostgres checks that after each fault of PostgreSQL held results are committed, no
// line runs twice, batches soon make progress, and live requests are not affected.
func TestPostgres(t *testing.T) {
	t.Parallel()
	servers := tidegatetest.StartServers(t, tidegatetest.PostgresRedis, "max_connections=60")
	w := newWorld(t, servers, plan{gateways: 3, clients: clients, proxied: true})
	live := w.startLive()
	faults := series(w.random, postgresFaults)
	for i := range rounds(*postgres) {
		w.wantWell()
		w.wantProgress(progressIn, "PostgreSQL was well")
		f := faults(i)
		t.Log(f.name)
		if f.alone {
			w.mayRepeat += inFlight
		}
		if err := f.do(w); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		w.wantProgress(backAfter, f.name)
		w.wantFewRepeats(f.name)
	}
	live()
	w.finish()
}
