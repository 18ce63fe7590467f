package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the advisory lock under which one instance at a time
// migrates: "tidegate" in ASCII.
const migrationLock = 0x7469646567617465

// migrate brings the schema up to date, each step in a transaction of its own,
// and refuses a schema that it does not know.
func migrate(ctx context.Context, c *pgx.Conn) (err error) {
	steps, err := store.Migrations(migrationFiles)
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
	missing, err := store.Missing(steps, have)
	if err != nil {
		return err
	}
	for _, m := range missing {
		if err := apply(ctx, c, m); err != nil {
			return fmt.Errorf("applying migration %s: %w", m.Name, err)
		}
	}
	return nil
}

func apply(ctx context.Context, c *pgx.Conn, m store.Migration) error {
	return pgx.BeginFunc(ctx, c, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, m.SQL); err != nil {
			return err
		}
		_, err := t.Exec(ctx, `INSERT INTO schema_migrations (version) VALUES ($1)`, m.Version)
		return err
	})
}
