package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/webhook"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is the gateway: a pool of upstreams, and the batch engine that uses it. The
// handlers tidegate_proxy and tidegate_api serve its clients.
type App struct {
	// Pool configures the upstreams and their health checks.
	Pool PoolConfig `json:"pool,omitzero"`

	// StoreRaw is the database of files and batches. Default: sqlite in the data
	// directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=tidegate.stores inline_key=driver"`
	// QueueRaw orders the batch work. Default: memory.
	QueueRaw json.RawMessage `json:"queue,omitempty" caddy:"namespace=tidegate.queues inline_key=driver"`
	// FilesRaw stores the contents of files. Default: local, in the data directory.
	FilesRaw json.RawMessage `json:"files,omitempty" caddy:"namespace=tidegate.files inline_key=driver"`

	// Role selects the work of the gateway. "all" answers live requests and the API,
	// and runs batches. "serve" accepts files and batches, and leaves running them to
	// other gateways on the same store. "work" only runs batches: clients are refused.
	// Default: all, or work if no site has a handler of the gateway.
	Role batch.Role `json:"role,omitempty"`

	// Batch configures the batch engine.
	Batch BatchConfig `json:"batch,omitzero"`

	// Webhooks report the ends of batches. Default: none.
	Webhooks []WebhookConfig `json:"webhooks,omitempty"`

	// Cost configures the prices of tokens. Default: none.
	Cost CostConfig `json:"cost,omitzero"`

	// Body limits how slowly the body of a request may arrive.
	Body BodyConfig `json:"body,omitzero"`

	// APIKeys are the accepted keys; clients must send one, as bearer token. An entry
	// may contain several keys, separated by commas or white space. Placeholders are
	// replaced; {env.NAME:} may be empty. Default: no key is required.
	APIKeys []string `json:"api_keys,omitempty"`

	// Keys are accepted keys with a tenant and rights. Default: none.
	Keys []KeyConfig `json:"keys,omitempty"`

	// Tenants have limits and weights. Tenants without an entry have no limits and the
	// weight 1.
	Tenants []TenantConfig `json:"tenants,omitempty"`

	// Identity describes users that another handler of the site has authenticated.
	// Default: none.
	Identity *IdentityConfig `json:"identity,omitempty"`

	// AuthOff admits clients on other machines without a key, because a proxy in front
	// authenticates them. Default: false.
	AuthOff bool `json:"auth_off,omitempty"`
	// Hosts are the host names that a gateway without api_keys accepts, in addition to
	// loopback and the names of its sites.
	Hosts []string `json:"hosts,omitempty"`
	// CORS are the origins whose web pages may use the API, or "*". Default: none.
	CORS cors `json:"cors,omitempty"`

	// Metrics configures access to GET /metrics.
	Metrics MetricsConfig `json:"metrics,omitzero"`

	// Data is the directory for everything without a configured location. Default:
	// tidegate in Caddy's data directory.
	Data string `json:"data,omitempty"`

	store StoreModule
	queue QueueModule
	files FilesModule
	keys  access.Ring // of the configuration
	users *users      // of Identity; nil without
	log   *zap.Logger
	// keyFiles are the files that keys were read from.
	keyFiles []string
	// warnedOfLogs is set when checkLogs has warned.
	warnedOfLogs bool
	pool         *sharedPool
	runtime      *runtime
	key          string
	applied      *settings
	webhooks     webhook.Config
	hasHandler   bool     // a site has one of the handlers
	listens      []string // addresses of the servers that have a handler

	watched map[*caddyhttp.Server]bool // see watchClients
}

// StoreModule is a guest module that opens a store. Identity returns a value that
// differs for different stores and for different ways to use one, such as another
// password or more connections. It contains no secrets. dataDir is App.Data.
type StoreModule interface {
	Identity(dataDir string) string
	Store(dataDir string, log *zap.Logger) (batch.Store, error)
	// Shared reports whether several gateways can use the store concurrently.
	Shared() bool
}

// QueueModule is a guest module that opens a queue.
type QueueModule interface {
	Identity() string
	Queue(log *zap.Logger) (batch.Queue, error)
}

// FilesModule is a guest module that opens a file store. If shared, several gateways
// must be able to use it concurrently.
type FilesModule interface {
	Identity(dataDir string) string
	Files(dataDir string, shared bool, log *zap.Logger) (batch.Files, error)
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate", New: func() caddy.Module { return new(App) }}
}

// Provision loads the guest modules and the runtime. Its only I/O is to read
// certificate and key files.
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
	if err := a.Pool.loadBalancer(ctx); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	var err error
	if a.keys, err = a.loadKeys(s); err != nil {
		return err
	}
	a.keyFiles = s.files
	if a.Identity != nil {
		if a.AuthOff {
			return errIdentityAuthOff
		}
		if a.users, err = a.Identity.users(); err != nil {
			return err
		}
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
	if err := a.onStop(ctx); err != nil {
		return err
	}
	return registerMetrics(ctx, a.runtime)
}

// Validate checks the settings and returns the first error.
func (a *App) Validate() error {
	if err := a.poolConfig().Validate(); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	if err := a.Body.Validate(); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	prices, err := a.Cost.prices()
	if err != nil {
		return fmt.Errorf("cost: %w", err)
	}
	if err := a.batchConfig().Validate(); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	if err := a.Batch.limits().Validate(); err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	if err := a.checkTenants(); err != nil {
		return err
	}
	if err := a.checkBudgets(prices); err != nil {
		return err
	}
	if err := a.webhooks.Validate(); err != nil {
		return fmt.Errorf("webhook %w", err)
	}
	return nil
}

// Start opens the runtime, unless it is open, and applies the settings. After an
// error the previous settings remain in force.
func (a *App) Start() error {
	a.applied = &settings{pool: a.poolConfig(), batch: a.batchConfig(), hooks: a.webhooks, limits: a.clientLimits(), keyed: a.authenticates(), local: !a.authenticates() && !a.AuthOff}
	if err := addresses.acquire(a.listens); err != nil {
		return err
	}
	left := a.places().tighten(a.log)
	a.runtime.loose.Store(&left)
	if err := a.runtime.start(a.applied); err != nil {
		return errors.Join(err, addresses.release(a.listens))
	}
	a.tellAccess()
	return nil
}

// tellAccess logs which clients are served, if that may be unexpected.
func (a *App) tellAccess() {
	switch {
	case !a.hasHandler && a.Role != "" && a.Role.Serves():
		a.log.Warn("no site has a handler of the gateway: no client can reach it", zap.String("role", string(a.Role)))
	case a.authenticates() || !a.hasHandler:
	case a.AuthOff:
		a.log.Warn("no api_keys are configured and auth is off: every client that reaches the gateway may use it, unless a proxy in front authenticates. API keys only limit the clients that send them")
	case a.requiresKey():
		if _, admin := a.runtime.directory.Any(); !admin {
			a.log.Warn("managed API keys are required, and none has the scope admin: configure a key with this scope to manage keys")
			return
		}
		a.log.Info("no api_keys are configured: managed API keys are required")
	case a.keysUnknown():
		a.log.Warn("no api_keys are configured and the managed ones are not known: requests are answered 503 until the database answers")
	default:
		a.log.Info("no api_keys are configured: clients on this machine are served, others are refused")
	}
}

// Stop reverts the settings. When the process exits, it drains: running lines may
// finish, the others are released.
func (a *App) Stop() error {
	err := addresses.release(a.listens) // first, because another gateway may start while this one drains
	return errors.Join(err, a.runtime.stop(a.applied, caddy.Exiting()))
}

// Cleanup closes the runtime when no configuration uses it any more, and the pool
// that its last lines used.
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

// authenticates reports whether the configuration requires clients to send a key or to be
// a known user.
func (a *App) authenticates() bool { return a.keys.Len() > 0 || a.users != nil }

var errIdentityAuthOff = errors.New("identity and `auth off` exclude each other: with `auth off`, clients without an identity may do everything")

var errNoApp = errors.New("the tidegate app is not configured: there is no `tidegate` block in the global options")

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
