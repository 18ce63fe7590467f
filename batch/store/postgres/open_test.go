package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
	"github.com/tidegate/tidegate/internal/pgtest"
)

// contains checks that the text of an error has all parts.
func contains(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not contain %q", err, part)
		}
	}
}

// query reads one value from the database of a URL.
func query[T any](tb testing.TB, url, sql string, args ...any) (v T) {
	tb.Helper()
	c, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(c.QueryRow(tb.Context(), sql, args...).Scan(&v), c.Close(tb.Context())); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return v
}

// database is the name in a URL.
func database(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func TestOpenTwice(t *testing.T) {
	s := opened(t, server.NewDatabase(t))
	if err := s.Open(t.Context()); !errors.Is(err, errOpen) {
		t.Errorf("error is %v, want %v", err, errOpen)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNewerSchema checks that a newer schema is refused with both versions, and that
// its data is unchanged.
func TestNewerSchema(t *testing.T) {
	url := server.NewDatabase(t)
	if err := opened(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	steps, err := store.Migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	if got := query[int](t, url, `SELECT count(*) FROM schema_migrations`); got != len(steps) || got == 0 {
		t.Errorf("%d migrations were applied, want %d", got, len(steps))
	}
	server.Exec(t, database(t, url), `INSERT INTO schema_migrations (version) VALUES (4711)`)
	err = made(t, url).Open(t.Context())
	if !errors.Is(err, batch.ErrNewerSchema) || errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, batch.ErrNewerSchema)
	}
	contains(t, err, "version 4711", fmt.Sprintf("up to %d", len(steps)), database(t, url))
}

// TestMigrationThatFails checks that a failed migration has no effect, and that the
// next Open applies it.
func TestMigrationThatFails(t *testing.T) {
	url := server.NewDatabase(t)
	server.Exec(t, database(t, url), `CREATE TABLE usage_15m ()`)
	contains(t, made(t, url).Open(t.Context()), "0001_initial.sql", "usage_15m")
	if got := query[int](t, url, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); got != 1 {
		t.Errorf("got %d tables after a failed migration, want 0", got)
	}
	server.Exec(t, database(t, url), `DROP TABLE usage_15m`)
	if err := opened(t, url).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOpenWaitsForMigration checks that waiting for the migration of another instance
// ends with the context, not with the time limit of a statement.
func TestOpenWaitsForMigration(t *testing.T) {
	url := server.NewDatabase(t)
	err := opened(t, url).write(t.Context(), "holding the lock", func(held *tx) error {
		if _, err := held.exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
			return err
		}
		s, err := New(Config{URL: url, StatementTimeout: 10 * time.Millisecond})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := s.Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v, want %v", err, context.DeadlineExceeded)
		}
		return s.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSuitable(t *testing.T) {
	if err := suitable(130000, "13.0", "UTF8"); err != nil {
		t.Error(err)
	}
	err := suitable(120017, "12.17 (Debian)", "UTF8")
	if !errors.Is(err, errOldServer) {
		t.Errorf("error is %v, want %v", err, errOldServer)
	}
	contains(t, err, "12.17", "13")
}

// TestEncoding checks that a database whose encoding changes text is refused.
func TestEncoding(t *testing.T) {
	server.Exec(t, "postgres", `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0`)
	err := made(t, server.URL("latin")).Open(t.Context())
	if !errors.Is(err, errEncoding) {
		t.Errorf("error is %v, want %v", err, errEncoding)
	}
	contains(t, err, "LATIN1")
}

// TestRefused checks that a refused login is a permanent error with the server's
// reason. After a successful login it is a temporary error.
func TestRefused(t *testing.T) {
	own := pgtest.Start(t, "password_encryption=scram-sha-256")
	own.Exec(t, "postgres", `CREATE ROLE poor LOGIN PASSWORD 'right'`)
	own.Exec(t, "postgres", `CREATE DATABASE test_poor OWNER poor`)
	if err := own.Restrict("poor"); err != nil {
		t.Fatal(err)
	}
	as := func(password string) string {
		return strings.Replace(own.URL("test_poor"), "tidegate@", "poor:"+password+"@", 1)
	}
	for url, why := range map[string]string{
		as("wrong"):        "password authentication failed",
		own.URL("missing"): `database "missing" does not exist`,
	} {
		err := made(t, url).Open(t.Context())
		if err == nil || errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("opened: %v", err)
		}
		contains(t, err, why)
		if strings.Contains(err.Error(), "wrong") {
			t.Errorf("error %q has the password", err)
		}
	}
	s := opened(t, as("right"))
	own.Exec(t, "postgres", `ALTER ROLE poor PASSWORD 'other'`)
	s.pool.Reset()
	err := s.Ping(t.Context())
	if !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, batch.ErrUnavailable)
	}
	contains(t, err, "password authentication failed")
}

// TestStandby checks that a standby and a read-only server are refused with the reason
// and a temporary error, because they may be promoted. An open store detects it too.
func TestStandby(t *testing.T) {
	own := pgtest.Start(t)
	url := own.NewDatabase(t)
	s := opened(t, url)
	f := batch.NewFile{ID: "file-1", Tenant: tenant, Key: "1"}
	if _, err := s.CreateFile(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	refused := func(why string) {
		t.Helper()
		err := made(t, url).Open(t.Context())
		if !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("error of opening is %v, want %v", err, batch.ErrUnavailable)
		}
		contains(t, err, why)
		_, err = s.CreateFile(t.Context(), batch.NewFile{ID: "file-2", Tenant: tenant, Key: "2"})
		for what, err := range map[string]error{"writing": err, "Ping": s.Ping(t.Context())} {
			if !errors.Is(err, batch.ErrUnavailable) {
				t.Errorf("error of %s is %v, want %v", what, err, batch.ErrUnavailable)
			}
		}
		if _, err := s.File(t.Context(), tenant, f.ID); err != nil {
			t.Errorf("reading: %v", err)
		}
	}
	if err := own.Demote(); err != nil {
		t.Fatal(err)
	}
	refused("standby")
	own.Exec(t, "postgres", `SELECT pg_promote()`)
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	own.Exec(t, "postgres", `ALTER DATABASE `+database(t, url)+` SET default_transaction_read_only = on`)
	s.pool.Reset()
	refused("read-only")
}

// PgBouncer refuses a connection with any other parameter
// (https://www.pgbouncer.org/config.html#ignore_startup_parameters).
func TestStartupParameters(t *testing.T) {
	for name := range made(t, "postgres://h/d").cfg.ConnConfig.RuntimeParams {
		if name != "application_name" {
			t.Errorf("%s is set as the connection begins", name)
		}
	}
}

// TestSharedSession checks that a pooler that pools transactions is detected, because
// the settings of a connection would apply to other sessions.
func TestSharedSession(t *testing.T) {
	s := opened(t, server.NewDatabase(t))
	f := batch.NewFile{ID: "file-1", Tenant: tenant, Key: "1"}
	if err := s.write(t.Context(), "setting up another", func(w *tx) error {
		_, err := w.exec(t.Context(), `SELECT set_config('tidegate.session', 'of another', false)`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_, err := s.CreateFile(t.Context(), f)
	if !errors.Is(err, batch.ErrUnavailable) || !errors.Is(err, errShared) {
		t.Errorf("error is %v, want %v", err, errShared)
	}
	s.pool.Reset()
	if _, err := s.File(t.Context(), tenant, f.ID); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("row was written, want none: %v", err)
	}
}

// TestSettings checks that the settings for durability and time limits override those
// of the database.
func TestSettings(t *testing.T) {
	url := server.NewDatabase(t)
	for _, setting := range []string{"synchronous_commit = off", "default_transaction_isolation = serializable", "statement_timeout = 0"} {
		server.Exec(t, database(t, url), `ALTER DATABASE `+database(t, url)+` SET `+setting)
	}
	s := openedWith(t, Config{URL: url, MaxConns: 3, StatementTimeout: 7 * time.Second})
	err := s.write(t.Context(), "reading settings", func(w *tx) error {
		for name, want := range map[string]string{
			"synchronous_commit": "on", "transaction_isolation": "read committed", "statement_timeout": "7s",
			"idle_in_transaction_session_timeout": "5s", "application_name": "tidegate",
		} {
			got, err := one(t.Context(), w, store.Value[string], `SELECT current_setting($1)`, name)
			if err != nil {
				return err
			}
			if got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
