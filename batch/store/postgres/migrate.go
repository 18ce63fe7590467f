package postgres

import (
	"context"
	"embed"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migrationLock is the key of the advisory lock that serializes migrations:
// "tidegate" in ASCII.
const migrationLock = 0x7469646567617465

const createMigrations = `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())`

// migrate applies missing migrations in one transaction, and refuses a newer
// schema. The advisory lock ends with the transaction.
func migrate(ctx context.Context, c *pgx.Conn) error {
	steps, err := store.Migrations(migrationFiles)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, c, func(t pgx.Tx) error {
		// A migration of another instance may take longer than a statement.
		if _, err := t.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		if _, err := t.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
			return fmt.Errorf("waiting for migrations of other gateways: %w", err)
		}
		if _, err := t.Exec(ctx, createMigrations); err != nil {
			return fmt.Errorf("reading schema: %w", err)
		}
		var have int
		if err := t.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM schema_migrations`).Scan(&have); err != nil {
			return fmt.Errorf("reading schema version: %w", err)
		}
		missing, err := store.Missing(steps, have)
		if err != nil {
			return err
		}
		for _, m := range missing {
			if err := apply(ctx, t, m); err != nil {
				return fmt.Errorf("applying migration %s: %w", m.Name, err)
			}
		}
		return nil
	})
}

func apply(ctx context.Context, t pgx.Tx, m store.Migration) error {
	if _, err := t.Exec(ctx, m.SQL); err != nil {
		return err
	}
	_, err := t.Exec(ctx, `INSERT INTO schema_migrations (version) VALUES ($1)`, m.Version)
	return err
}
