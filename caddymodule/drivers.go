package caddymodule

import (
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

func init() {
	caddy.RegisterModule(new(SQLiteStore))
	caddy.RegisterModule(new(MemoryQueue))
	caddy.RegisterModule(new(LocalFiles))
}

// SQLiteStore stores files and batches in an embedded database, for one gateway.
type SQLiteStore struct {
	// Path is the database file. Default: tidegate.db in the data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SQLiteStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.stores.sqlite", New: func() caddy.Module { return new(SQLiteStore) }}
}

func (s *SQLiteStore) path(dataDir string) string {
	if s.Path == "" {
		return filepath.Join(dataDir, "tidegate.db")
	}
	return caddy.NewReplacer().ReplaceKnown(s.Path, "")
}

// Identity implements StoreModule.
func (s *SQLiteStore) Identity(dataDir string) string { return "sqlite " + s.path(dataDir) }

// Shared returns false: the gateway that opens the database locks it.
func (*SQLiteStore) Shared() bool { return false }

// Store opens the store.
func (s *SQLiteStore) Store(dataDir string, _ *zap.Logger) (batch.Store, error) {
	return sqlite.New(sqlite.Config{Path: s.path(dataDir)}), nil
}

// UnmarshalCaddyfile sets up the module:
//
//	sqlite [<path>]
func (s *SQLiteStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return optionalPath(d, &s.Path)
}

// MemoryQueue is a queue in the process.
type MemoryQueue struct{}

// CaddyModule returns the Caddy module information.
func (*MemoryQueue) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.queues.memory", New: func() caddy.Module { return new(MemoryQueue) }}
}

// Identity implements QueueModule.
func (*MemoryQueue) Identity() string { return "memory" }

// Queue opens the queue.
func (*MemoryQueue) Queue(*zap.Logger) (batch.Queue, error) { return memory.New(), nil }

// UnmarshalCaddyfile sets up the module:
//
//	memory
func (*MemoryQueue) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized queue option %q", d.Val())
	}
	return nil
}

// LocalFiles stores contents in a directory. Gateways that share a store must share
// the directory.
type LocalFiles struct {
	// Dir is the directory. Default: files in the data directory.
	Dir string `json:"dir,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*LocalFiles) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.files.local", New: func() caddy.Module { return new(LocalFiles) }}
}

func (f *LocalFiles) dir(dataDir string) string {
	if f.Dir == "" {
		return filepath.Join(dataDir, "files")
	}
	return caddy.NewReplacer().ReplaceKnown(f.Dir, "")
}

// Identity implements FilesModule.
func (f *LocalFiles) Identity(dataDir string) string { return "local " + f.dir(dataDir) }

// Files opens the file store.
func (f *LocalFiles) Files(dataDir string, shared bool, _ *zap.Logger) (batch.Files, error) {
	return local.New(local.Config{Dir: f.dir(dataDir), Shared: shared}), nil
}

// UnmarshalCaddyfile sets up the module:
//
//	local [<directory>]
func (f *LocalFiles) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return optionalPath(d, &f.Dir)
}

// optionalPath parses a directive with at most one argument and no block.
func optionalPath(d *caddyfile.Dispenser, path *string) error {
	d.Next()
	word := d.Val()
	if d.NextArg() {
		if *path = d.Val(); strings.TrimSpace(*path) == "" {
			return d.Errf("%s must be a path that is not empty", word)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized option %q", d.Val())
	}
	return nil
}

var (
	_ StoreModule           = (*SQLiteStore)(nil)
	_ QueueModule           = (*MemoryQueue)(nil)
	_ FilesModule           = (*LocalFiles)(nil)
	_ caddyfile.Unmarshaler = (*SQLiteStore)(nil)
	_ caddyfile.Unmarshaler = (*MemoryQueue)(nil)
	_ caddyfile.Unmarshaler = (*LocalFiles)(nil)
)
