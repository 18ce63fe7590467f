package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Steps are only ever added.
type migration struct {
	version int
	name    string
	sql     string
}

// migrations gives the steps in order; the number that a file's name begins
// with is its version.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	steps := make([]migration, len(names))
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		base := strings.TrimPrefix(name, "migrations/")
		number, _, _ := strings.Cut(base, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", base, i+1)
		}
		steps[i] = migration{version, base, string(text)}
	}
	return steps, nil
}

// migrationLock is the advisory lock under which one instance at a time
// migrates: "tidegate" in ASCII.
const migrationLock = 0x7469646567617465

// migrate brings the schema up to date, each step in a transaction of its own,
// and refuses a schema that it does not know.
func migrate(ctx context.Context, c *pgx.Conn) (err error) {
	steps, err := migrations()
	if err != nil {
		return err
	}
	// Others migrate for as long as they need to.
	if _, err := c.Exec(ctx, `SET statement_timeout = 0`); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("waiting for others that migrate: %w", err)
	}
	defer func() {
		_, unlocking := c.Exec(ctx, `SELECT pg_advisory_unlock($1)`, int64(migrationLock))
		_, resetting := c.Exec(ctx, `RESET statement_timeout`)
		err = errors.Join(err, unlocking, resetting)
	}()
	if _, err := c.Exec(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())`); err != nil {
		return fmt.Errorf("reading schema: %w", err)
	}
	var have int
	if err := c.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM schema_migrations`).Scan(&have); err != nil {
		return fmt.Errorf("reading schema version: %w", err)
	}
	if have > len(steps) {
		return fmt.Errorf("%w: its schema is version %d, this program knows up to %d", batch.ErrNewerSchema, have, len(steps))
	}
	for _, m := range steps[have:] {
		if err := apply(ctx, c, m); err != nil {
			return fmt.Errorf("applying migration %s: %w", m.name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, c *pgx.Conn, m migration) error {
	return pgx.BeginFunc(ctx, c, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, m.sql); err != nil {
			return err
		}
		_, err := t.Exec(ctx, `INSERT INTO schema_migrations (version) VALUES ($1)`, m.version)
		return err
	})
}
