package tidegatetest

import (
	"fmt"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/internal/pgtest"
	"github.com/tidegate/tidegate/internal/redistest"
)

// Kind is a combination of store, queue and files.
type Kind string

// All kinds; several gateways can share the last three.
const (
	SQLite          Kind = "sqlite" // with the memory queue and a local directory
	Postgres        Kind = "postgres"
	PostgresRedis   Kind = "postgres+redis"
	PostgresRedisS3 Kind = "postgres+redis+s3"
)

// Servers are the real servers that a Kind needs, for one test.
type Servers struct {
	Postgres *pgtest.Server    // nil for SQLite
	Redis    *redistest.Server // nil for the memory queue
	S3       *S3Server         // nil for a local directory

	backends atomic.Int64
}

// StartServers starts what gateways of a kind need. PostgreSQL takes further
// settings, "name=value".
func StartServers(tb testing.TB, kind Kind, postgres ...string) *Servers {
	tb.Helper()
	s := &Servers{}
	if kind == SQLite {
		return s
	}
	s.Postgres = pgtest.Start(tb, postgres...)
	if kind == PostgresRedis || kind == PostgresRedisS3 {
		s.Redis = redistest.Start(tb)
	}
	if kind == PostgresRedisS3 {
		s.S3 = StartS3(tb)
	}
	return s
}

// Backend is a separate location for the state of gateways.
type Backend struct {
	servers *Servers

	Database string // URL of the database; "" for SQLite
	Redis    string // URL of the server; "" for the memory queue
	Prefix   string // of keys in Redis and objects in S3
	S3       string // URL; "" for a local directory
	Dir      string // the local directory; "" with S3
	MaxConns int    // to PostgreSQL; 0 for the default
}

// NewBackend makes an empty one.
func (s *Servers) NewBackend(tb testing.TB) *Backend {
	tb.Helper()
	b := &Backend{servers: s, Prefix: fmt.Sprintf("test%d", s.backends.Add(1))}
	if s.Postgres != nil {
		b.Database = s.Postgres.NewDatabase(tb)
	}
	if s.Redis != nil {
		b.Redis = s.Redis.URL()
	}
	if s.S3 != nil {
		b.S3 = s.S3.URL(b.Prefix)
	} else {
		b.Dir = tb.TempDir()
	}
	return b
}

// App returns the backend's options in tidegate { … } of a Caddyfile.
func (b *Backend) App() string {
	app := ""
	if b.Database != "" {
		app += fmt.Sprintf("store postgres %s {\n", b.Database)
		if b.MaxConns > 0 {
			app += fmt.Sprintf("max_conns %d\n", b.MaxConns)
		}
		app += "}\n"
	}
	if b.Redis != "" {
		app += fmt.Sprintf("queue redis %s {\n prefix %s\n }\n", b.Redis, b.Prefix)
	}
	if b.S3 != "" {
		app += fmt.Sprintf("files s3 %s {\n access_key %s\n secret_key %s\n }\n", b.S3, S3AccessKey, S3SecretKey)
	} else {
		app += fmt.Sprintf("files local %s\n", b.Dir)
	}
	return app
}

// Via is the same with the database reached at another address, host:port.
func (b *Backend) Via(tb testing.TB, addr string) *Backend {
	tb.Helper()
	u, err := url.Parse(b.Database)
	if err != nil {
		tb.Fatal(err)
	}
	u.Host = addr
	other := *b
	other.Database = u.String()
	return &other
}

// Contents returns the keys of all contents.
func (b *Backend) Contents(tb testing.TB) []string {
	tb.Helper()
	if b.S3 != "" {
		return b.servers.S3.Objects(tb, b.Prefix)
	}
	paths, err := filepath.Glob(filepath.Join(b.Dir, "*", "*"))
	if err != nil {
		tb.Fatal(err)
	}
	for i, path := range paths {
		paths[i] = filepath.Base(path)
	}
	return paths
}
