package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(openInChild); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

// clock is a database's clock that tests move.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 7, 1, 12, 7, 30, 123456000, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()) }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

func TestStore(t *testing.T) {
	migrated := migratedFile(t)
	storetest.Run(t, func(t *testing.T) storetest.Database {
		path, clock := databasePath(t), newClock()
		if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), os.WriteFile(path, migrated, 0o600)); err != nil {
			t.Fatal(err)
		}
		return storetest.Database{
			Store:     func() batch.Store { return New(Config{Path: path, Now: clock.now}) },
			Advance:   clock.advance,
			SetSchema: func(t *testing.T, version int) { setSchema(t, path, version) },
			MoreKeys: func(t *testing.T, n int) {
				execute(t, path, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
					INSERT INTO api_keys (id, name, tenant, hash, scopes, created_at, created_by)
					SELECT id || '-' || i, name, tenant, printf('%064x', i), scopes, created_at, created_by FROM api_keys, n`, n)
			},
			Exclusive: true,
		}
	})
}

// migratedFile returns a database without data: migrations take as long as most tests.
func migratedFile(t *testing.T) []byte {
	path := databasePath(t)
	s := New(Config{Path: path, Now: newClock().now})
	if err := errors.Join(s.Open(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func databasePath(t testing.TB) string {
	return filepath.Join(t.TempDir(), "data", "tidegate.db")
}

func setSchema(t *testing.T, path string, version int) {
	execute(t, path, `INSERT INTO schema_migrations (version, applied_at) VALUES (?, 0)`, version)
}

// execute runs a statement on a connection of its own.
func execute(t *testing.T, path, statement string, args ...any) {
	db, err := sql.Open("sqlite", source(path, writing))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store and closes it at the end of the test.
func openStore(t testing.TB, path string) *Store {
	s := New(Config{Path: path, Now: newClock().now})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
