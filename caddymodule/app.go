package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the gateway: a pool of upstreams, and the batch engine that works on
// it. The handlers tidegate_proxy and tidegate_api are its doors.
type App struct {
	// Pool are the upstreams, and how they are watched and used.
	Pool PoolConfig `json:"pool,omitzero"`

	// StoreRaw keeps the truth about files and batches. Default: sqlite in the
	// data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=tidegate.stores inline_key=driver"`
	// QueueRaw says which work is next. Default: memory.
	QueueRaw json.RawMessage `json:"queue,omitempty" caddy:"namespace=tidegate.queues inline_key=driver"`
	// FilesRaw keeps contents of files. Default: local, in the data directory.
	FilesRaw json.RawMessage `json:"files,omitempty" caddy:"namespace=tidegate.files inline_key=driver"`

	// Role is the part of the work that the gateway does. "all" answers live requests
	// and the API, and works on batches. "serve" accepts files and batches, and leaves
	// the work on them to other gateways on the same store. "work" only works on
	// batches: clients are refused. Default: all, or work if no site has a handler of
	// the gateway.
	Role batch.Role `json:"role,omitempty"`

	// Batch are the settings of the batch engine.
	Batch BatchConfig `json:"batch,omitzero"`

	// Body says how slowly the body of a request may arrive.
	Body BodyConfig `json:"body,omitzero"`

	// APIKeys are what clients must show one of, as bearer token. One text may be
	// several keys, separated by commas or white space. Placeholders are replaced;
	// {env.NAME:} may be none. Default: none is asked for.
	APIKeys []string `json:"api_keys,omitempty"`

	// AuthOff lets clients on other machines in without a key: something in front
	// of the gateway authenticates them. Default: false.
	AuthOff bool `json:"auth_off,omitempty"`
	// Hosts are names that a gateway without api_keys may be asked under, besides
	// loopback and the names of its sites.
	Hosts []string `json:"hosts,omitempty"`
	// CORS are the origins whose web pages may use the API, or "*". Default: none.
	CORS cors `json:"cors,omitempty"`

	// Metrics says who may read GET /metrics.
	Metrics MetricsConfig `json:"metrics,omitzero"`

	// Data is the directory for what has no other place. Default: tidegate in
	// Caddy's data directory.
	Data string `json:"data,omitempty"`

	store StoreModule
	queue QueueModule
	files FilesModule
	keys  keyring
	log   *zap.Logger
	// keyFiles are the files that keys are read from.
	keyFiles []string
	// warnedOfLogs is set when checkLogs has warned.
	warnedOfLogs bool
	pool         *sharedPool
	runtime      *runtime
	key          string
	applied      *settings
	hasHandler   bool     // a site has one of the handlers
	listens      []string // addresses of the servers that have a handler

	watched map[*caddyhttp.Server]bool // see watchClients
}

// StoreModule is a guest module that makes a store. Identity tells two apart
// that keep different truths, or keep one in different ways: with another
// password, or more connections. It shows no secrets. dataDir is App.Data.
type StoreModule interface {
	Identity(dataDir string) string
	Store(dataDir string, log *zap.Logger) (batch.Store, error)
	// Shared tells whether several gateways can use the store at once.
	Shared() bool
}

// QueueModule is a guest module that makes a queue.
type QueueModule interface {
	Identity() string
	Queue(log *zap.Logger) (batch.Queue, error)
}

// FilesModule is a guest module that makes a place for contents, one that
// several gateways can use at once if it is to be shared.
type FilesModule interface {
	Identity(dataDir string) string
	Files(dataDir string, shared bool, log *zap.Logger) (batch.Files, error)
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate", New: func() caddy.Module { return new(App) }}
}

// Provision loads the guest modules and finds the runtime. Its only I/O is to read
// the files of certificates and keys that are named.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	replacer := caddy.NewReplacer()
	if a.Data == "" {
		a.Data = filepath.Join(caddy.AppDataDir(), "tidegate")
	}
	a.Data = replacer.ReplaceKnown(a.Data, "")
	s := &secrets{replacer: replacer}
	if err := a.reveal(s); err != nil {
		return err
	}
	a.keyFiles = s.files
	for _, guest := range []struct {
		raw    *json.RawMessage
		field  string
		driver string
	}{{&a.StoreRaw, "StoreRaw", "sqlite"}, {&a.QueueRaw, "QueueRaw", "memory"}, {&a.FilesRaw, "FilesRaw", "local"}} {
		if *guest.raw == nil {
			*guest.raw = json.RawMessage(`{"driver":"` + guest.driver + `"}`)
		}
		module, err := ctx.LoadModule(a, guest.field)
		if err != nil {
			return fmt.Errorf("loading %s: %w", guest.field, err)
		}
		var ok bool
		switch guest.field {
		case "StoreRaw":
			a.store, ok = module.(StoreModule)
		case "QueueRaw":
			a.queue, ok = module.(QueueModule)
		default:
			a.files, ok = module.(FilesModule)
		}
		if !ok {
			return fmt.Errorf("%T cannot be used as %s", module, guest.field)
		}
	}
	var err error
	if a.keys, err = newKeyring(a.APIKeys); err != nil {
		return fmt.Errorf("api_keys: %w", err)
	}
	a.key = a.store.Identity(a.Data) + "\n" + a.queue.Identity() + "\n" + a.files.Identity(a.Data)
	if err := a.Validate(); err != nil {
		return err
	}
	if err := a.poolConfig().CheckFiles(); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if a.pool, err = loadPool(); err != nil {
		return err
	}
	value, _, err := runtimes.LoadOrNew(a.key, func() (caddy.Destructor, error) {
		return newRuntime(a)
	})
	if err != nil {
		return err
	}
	a.runtime = value.(*runtime)
	return registerMetrics(ctx, a.runtime)
}

// Validate names the first setting that makes no sense.
func (a *App) Validate() error {
	if err := a.poolConfig().Validate(); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if err := a.Body.Validate(); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	if err := a.batchConfig().Validate(); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	if err := a.Batch.limits().Validate(); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	return nil
}

// Start opens the runtime, unless it is open, and applies the settings. After an
// error those before are in force.
func (a *App) Start() error {
	a.tellAccess()
	a.applied = &settings{pool: a.poolConfig(), batch: a.batchConfig(), keyed: len(a.keys) > 0, local: len(a.keys) == 0 && !a.AuthOff}
	if err := addresses.acquire(a.listens); err != nil {
		return err
	}
	left := a.places().tighten(a.log)
	a.runtime.loose.Store(&left)
	if err := a.runtime.start(a.applied); err != nil {
		return errors.Join(err, addresses.release(a.listens))
	}
	return nil
}

// tellAccess logs which clients a gateway serves, if that may surprise.
func (a *App) tellAccess() {
	switch {
	case !a.hasHandler && a.Role != "" && a.Role.Serves():
		a.log.Warn("no site has a handler of the gateway: no client can reach it", zap.String("role", string(a.Role)))
	case len(a.keys) > 0 || !a.hasHandler:
	case a.AuthOff:
		a.log.Warn("no api_keys are configured and auth is off: everybody who reaches the gateway may use it, unless something in front authenticates")
	default:
		a.log.Info("no api_keys are configured: clients on this machine are served, others are refused")
	}
}

// Stop takes the settings back. When the process exits, it drains: running
// lines may finish, the others are handed back.
func (a *App) Stop() error {
	err := addresses.release(a.listens) // first: another gateway may start while this one drains
	return errors.Join(err, a.runtime.stop(a.applied, caddy.Exiting()))
}

// Cleanup closes the runtime when no configuration uses it any more, and the
// pool that its last lines ran on.
func (a *App) Cleanup() error {
	var errs []error
	if a.runtime != nil {
		_, err := runtimes.Delete(a.key)
		errs = append(errs, err)
	}
	if a.pool != nil {
		_, err := pools.Delete(thePool)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var errNoApp = errors.New("the tidegate app is not configured: there is no `tidegate` block in the global options")

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
