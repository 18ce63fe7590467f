package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/internal/pgtest"
	"github.com/tidegate/tidegate/internal/redistest"
)

// asInstalled reverts the settings of pgtest to PostgreSQL's defaults, with which a commit
// is on disk when it returns.
var asInstalled = []string{"fsync=on", "full_page_writes=on", "synchronous_commit=on", "shared_buffers=128MB", "max_connections=100"}

// database is a PostgreSQL of the measurement's own.
type database struct {
	*pgtest.Server
	pid      int
	Settings map[string]string // settings that determine the cost of a commit
}

// startDatabase starts a durable PostgreSQL.
func startDatabase(ctx context.Context, settings ...string) (*database, error) {
	server, err := pgtest.New(append(asInstalled, settings...)...)
	if err != nil {
		return nil, err
	}
	d := &database{Server: server}
	if err := d.describe(ctx); err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return d, nil
}

// describe records the server's version and settings, and refuses one that is not durable.
func (d *database) describe(ctx context.Context) error {
	c, err := pgx.Connect(ctx, d.URL("postgres"))
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, `SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY ($1)`, []string{
		"server_version", "fsync", "full_page_writes", "synchronous_commit", "shared_buffers", "autovacuum", "autovacuum_naptime", "wal_sync_method",
	})
	if err != nil {
		return fmt.Errorf("reading PostgreSQL's settings: %w", err)
	}
	d.Settings = make(map[string]string)
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { d.Settings[name] = value; return nil }); err != nil {
		return fmt.Errorf("reading PostgreSQL's settings: %w", err)
	}
	for _, durable := range []string{"fsync", "full_page_writes", "synchronous_commit", "autovacuum"} {
		if d.Settings[durable] != "on" {
			return fmt.Errorf("PostgreSQL runs with %s = %s", durable, d.Settings[durable])
		}
	}
	var backend int
	if err := c.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&backend); err != nil {
		return fmt.Errorf("asking for a process: %w", err)
	}
	d.pid, err = parentOf(backend)
	return err
}

// create creates an empty database and returns its URL.
func (d *database) create(ctx context.Context, name string) (string, error) {
	c, err := pgx.Connect(ctx, d.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("making a database: %w", err)
	}
	return d.URL(name), nil
}

// redisServer is a dedicated Redis without persistence, which the queue does not need.
type redisServer struct {
	*redistest.Server
	pid int
}

func startRedis() (*redisServer, error) {
	server, err := redistest.New()
	if err != nil {
		return nil, err
	}
	r := &redisServer{Server: server}
	pid, err := r.info("server", "process_id")
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	r.pid = int(pid)
	return r, nil
}

// info is a number of a section of Redis' INFO.
func (r *redisServer) info(section, field string) (int64, error) {
	answer, err := r.Do("INFO", section)
	if err != nil {
		return 0, err
	}
	text, ok := answer.(string)
	if !ok {
		return 0, fmt.Errorf("INFO answered %v", answer)
	}
	return parseInfo(text, field)
}

// parseInfo finds a number in the response of INFO: lines of field:value
// (https://redis.io/docs/latest/commands/info/).
func parseInfo(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading INFO: %w", err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("no %s in INFO", field)
}

// backends are the servers that gateways share.
type backends struct {
	db    *database
	redis *redisServer
}

func startBackends(ctx context.Context, settings ...string) (*backends, error) {
	db, err := startDatabase(ctx, settings...)
	if err != nil {
		return nil, err
	}
	redis, err := startRedis()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &backends{db, redis}, nil
}

// configured returns the configuration of gateways that use the backends and a simulated
// server. settings are further lines of the directive batch.
func (s *backends) configured(ctx context.Context, b *bench, sim *process, settings string) (configured, error) {
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return configured{}, fmt.Errorf("making data directory: %w", err)
	}
	app, err := s.drivers(ctx, "tidegate")
	return configured{upstreams: []*process{sim}, data: data, app: app, batch: settings}, err
}

// stop stops both. Their data is temporary, so errors are ignored.
func (s *backends) stop() {
	s.db.Close()
	s.redis.Close()
}

// drivers are the lines of a Caddyfile by which a gateway works on them, in a
// new database and under a prefix of that name.
func (s *backends) drivers(ctx context.Context, name string) (string, error) {
	url, err := s.db.create(ctx, name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("store postgres %s\n\t\tqueue redis %s {\n\t\t\tprefix %s\n\t\t}", url, s.redis.URL(), name), nil
}

// patience limits each wait: a measurement that takes longer fails.
const patience = 10 * time.Minute
