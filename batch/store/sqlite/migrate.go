package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const createMigrations = `CREATE TABLE IF NOT EXISTS schema_migrations (
	version    INTEGER PRIMARY KEY,
	applied_at INTEGER NOT NULL
) STRICT`

// migrate applies missing migrations, each in its own transaction, and refuses a
// newer schema.
func (p *pool) migrate(ctx context.Context, clock func() time.Time) error {
	steps, err := store.Migrations(migrationFiles)
	if err != nil {
		return err
	}
	if _, err := p.db.ExecContext(ctx, createMigrations); err != nil {
		return fmt.Errorf("reading schema: %w", err)
	}
	var have int
	if err := p.db.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM schema_migrations`).Scan(&have); err != nil {
		return fmt.Errorf("reading schema version: %w", err)
	}
	missing, err := store.Missing(steps, have)
	if err != nil {
		return err
	}
	for _, m := range missing {
		if err := p.apply(ctx, m, clock()); err != nil {
			return fmt.Errorf("applying migration %s: %w", m.Name, err)
		}
	}
	return nil
}

func (p *pool) apply(ctx context.Context, m store.Migration, now time.Time) error {
	return p.transact(ctx, func(t *sql.Tx) error {
		if _, err := t.ExecContext(ctx, m.SQL); err != nil {
			return err
		}
		_, err := t.ExecContext(ctx, `INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)`, m.Version, store.Micros(now))
		return err
	})
}
