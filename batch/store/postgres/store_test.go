package postgres

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/storetest"
	"github.com/tidegate/tidegate/internal/pgtest"
)

// server is the PostgreSQL of all tests, except those that stop theirs.
var server *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = pgtest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// made makes a store.
func made(tb testing.TB, url string) *Store {
	tb.Helper()
	s, err := New(Config{URL: url})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// opened opens a store until the test ends.
func opened(tb testing.TB, url string) *Store {
	tb.Helper()
	return openedWith(tb, Config{URL: url})
}

// openedWith opens a store with settings until the test ends.
func openedWith(tb testing.TB, cfg Config) *Store {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// execute runs a statement on a connection of its own.
func execute(t *testing.T, url, sql string, args ...any) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	// Migrations take longer than most tests.
	migrated := server.NewDatabase(t)
	if err := opened(t, migrated).Close(); err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T) storetest.Database {
		url := server.CopyDatabase(t, migrated)
		var stores []*Store
		var skew time.Duration
		return storetest.Database{
			Store: func() batch.Store {
				s := made(t, url)
				s.skew.Store(skew.Microseconds())
				stores = append(stores, s)
				return s
			},
			Advance: func(d time.Duration) {
				skew += d
				for _, s := range stores {
					s.skew.Store(skew.Microseconds())
				}
			},
			SetSchema: func(t *testing.T, version int) {
				execute(t, url, `INSERT INTO schema_migrations (version) VALUES ($1)`, version)
			},
			MoreKeys: func(t *testing.T, n int) {
				execute(t, url, `INSERT INTO api_keys (id, name, tenant, hash, scopes, created_at, created_by)
					SELECT id || '-' || i, name, tenant, lpad(to_hex(i), 64, '0'), scopes, created_at, created_by FROM api_keys, generate_series(1, $1::integer) i`, n)
			},
		}
	})
}
