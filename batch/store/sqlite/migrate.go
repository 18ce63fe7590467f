package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

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

const createMigrations = `CREATE TABLE IF NOT EXISTS schema_migrations (
	version    INTEGER PRIMARY KEY,
	applied_at INTEGER NOT NULL
) STRICT`

// migrate brings the schema up to date, each step in a transaction of its own,
// and refuses a schema that it does not know.
func (p *pool) migrate(ctx context.Context, clock func() time.Time) error {
	steps, err := migrations()
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
	if have > len(steps) {
		return fmt.Errorf("%w: its schema is version %d, this program knows up to %d", batch.ErrNewerSchema, have, len(steps))
	}
	for _, m := range steps[have:] {
		if err := p.apply(ctx, m, clock()); err != nil {
			return fmt.Errorf("applying migration %s: %w", m.name, err)
		}
	}
	return nil
}

func (p *pool) apply(ctx context.Context, m migration, now time.Time) error {
	return p.transact(ctx, func(t *sql.Tx) error {
		if _, err := t.ExecContext(ctx, m.sql); err != nil {
			return err
		}
		_, err := t.ExecContext(ctx, `INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)`, m.version, micros(now))
		return err
	})
}
