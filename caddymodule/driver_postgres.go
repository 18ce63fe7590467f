package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/postgres"
)

func init() {
	caddy.RegisterModule(new(PostgresStore))
}

// PostgresStore stores files and batches in PostgreSQL, for any number of gateways.
type PostgresStore struct {
	// URL is a connection string as accepted by PostgreSQL's own programs, such as
	// postgres://user:password@host:5432/database?sslmode=require. Placeholders are
	// replaced.
	URL string `json:"url"`
	// MaxConns limits the connections of this gateway. Default: pool_max_conns of the
	// URL, or else 8.
	MaxConns int `json:"max_conns,omitempty"`
	// ConnectTimeout limits a connection attempt. Default 5s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// StatementTimeout limits a statement. Default 30s.
	StatementTimeout caddy.Duration `json:"statement_timeout,omitempty"`

	url      string
	identity string
}

// CaddyModule returns the Caddy module information.
func (*PostgresStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.stores.postgres", New: func() caddy.Module { return new(PostgresStore) }}
}

// Provision reads the URL.
func (s *PostgresStore) Provision(caddy.Context) (err error) {
	secrets := &secrets{replacer: caddy.NewReplacer()}
	if s.url, err = secrets.url("postgres", s.URL); err != nil {
		return fmt.Errorf("store postgres: %w", err)
	}
	if s.identity, err = postgres.Identity(s.url); err != nil {
		return fmt.Errorf("store postgres: %w", err)
	}
	return nil
}

// readFrom defers reading the URL from a placeholder until the configuration is
// loaded.
func (s *PostgresStore) readFrom(placeholder string) { s.URL = placeholder }

// Identity implements StoreModule.
func (s *PostgresStore) Identity(string) string {
	return s.identity + " " + fingerprint(s.url, s.MaxConns, s.ConnectTimeout, s.StatementTimeout)
}

// Shared returns true: any number of gateways can use it.
func (*PostgresStore) Shared() bool { return true }

// Store opens the store.
func (s *PostgresStore) Store(_ string, log *zap.Logger) (batch.Store, error) {
	return postgres.New(postgres.Config{
		URL: s.url, MaxConns: s.MaxConns, ConnectTimeout: duration(s.ConnectTimeout), StatementTimeout: duration(s.StatementTimeout), Logger: log,
	})
}

// UnmarshalCaddyfile sets up the module:
//
//	postgres <url> {
//		max_conns         <count>
//		connect_timeout   <duration>
//		statement_timeout <duration>
//	}
func (s *PostgresStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return urlAndBlock(d, &s.URL, postgres.Identity, s.options())
}

func (s *PostgresStore) options() map[string]option {
	return map[string]option{"max_conns": countFrom(&s.MaxConns, 2, 10_000), "connect_timeout": span(&s.ConnectTimeout), "statement_timeout": span(&s.StatementTimeout)}
}

var (
	_ StoreModule           = (*PostgresStore)(nil)
	_ caddyfile.Unmarshaler = (*PostgresStore)(nil)
	_ caddy.Provisioner     = (*PostgresStore)(nil)
)
