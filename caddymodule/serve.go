package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/logging" // the filter encoder of the access log
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "serve",
		Usage: "--upstream <url>[,<url>] [--listen <addr>] [--data <dir>]",
		Short: "Runs the gateway without a configuration file",
		Long: `Runs the gateway in front of one or more OpenAI-compatible servers, on embedded
defaults: files and batches are kept in SQLite and in files below --data.

Without an API key the gateway listens on loopback only. The key comes from
--api-key or TIDEGATE_API_KEY, that of the servers from --upstream-api-key or
TIDEGATE_UPSTREAM_API_KEY.`,
		CobraFunc: func(cmd *cobra.Command) {
			f := cmd.Flags()
			cmd.Example = "  tidegate serve --upstream http://gpu-0:8000,http://gpu-1:8000\n" +
				"  TIDEGATE_API_KEY=secret tidegate serve --listen :8080 --upstream http://gpu-0:8000"
			f.StringSlice("upstream", nil, "URL of a server, http://host:port, https://host:port or unix//path; several separated by commas, or the flag repeated")
			f.String("listen", "127.0.0.1:8080", "address to listen on")
			f.String("data", "", "directory for files and batches (default: tidegate in Caddy's data directory)")
			f.StringArray("api-key", nil, "key that clients must show; several separated by commas, or the flag repeated (default: TIDEGATE_API_KEY)")
			f.String("upstream-api-key", "", "key that is sent to the servers, vLLM's --api-key (default: TIDEGATE_UPSTREAM_API_KEY)")
			f.StringArray("upstream-ca", nil, "PEM file of an authority that https servers' certificates are signed by, instead of the system's; may be repeated")
			f.String("upstream-client-cert", "", "PEM file of a certificate that is shown to https servers; needs --upstream-client-key")
			f.String("upstream-client-key", "", "PEM file of its key")
			f.String("upstream-server-name", "", "name in the certificates of https servers (default: the URL's host)")
			f.Bool("no-auth", false, "listen beyond loopback without an API key: a proxy in front asks for one")
			f.String("admin", "", "address of Caddy's admin endpoint (default: off)")
			f.Int("max-in-flight", 0, "lines of batches that are under way at most (default: by the servers' slots, at least 256)")
			f.Int("max-num-seqs", 0, "requests that a server runs at once, its --max-num-seqs (default: what it tells or the gateway finds)")
			f.Float64("batch-share", 0, "part of a server's max-num-seqs that lines of batches may take (default 0.75)")
			f.Bool("access-log", false, "log every request")
			f.Bool("debug", false, "log more")
			singly(cmd)
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return serve(cmd) }
		},
	})
}

// serveOptions are the settings of a gateway without a configuration file.
type serveOptions struct {
	upstreams   []string
	listen      string
	data        string
	apiKeys     []string
	upstreamKey string
	upstreamTLS TLSConfig
	noAuth      bool
	admin       string
	maxInFlight int
	maxNumSeqs  int
	batchShare  float64
	accessLog   bool
	debug       bool
}

func serve(cmd *cobra.Command) error {
	cmd.SilenceUsage = true
	f := cmd.Flags()
	var o serveOptions
	var errs []error
	read := func(err error) { errs = append(errs, err) }
	var err error
	o.upstreams, err = f.GetStringSlice("upstream")
	read(err)
	o.listen, err = f.GetString("listen")
	read(err)
	o.data, err = f.GetString("data")
	read(err)
	o.apiKeys, err = f.GetStringArray("api-key")
	read(err)
	o.upstreamKey, err = f.GetString("upstream-api-key")
	read(err)
	o.upstreamTLS.RootCAPEMFiles, err = f.GetStringArray("upstream-ca")
	read(err)
	o.upstreamTLS.ClientCertificateFile, err = f.GetString("upstream-client-cert")
	read(err)
	o.upstreamTLS.ClientCertificateKeyFile, err = f.GetString("upstream-client-key")
	read(err)
	o.upstreamTLS.ServerName, err = f.GetString("upstream-server-name")
	read(err)
	o.noAuth, err = f.GetBool("no-auth")
	read(err)
	o.admin, err = f.GetString("admin")
	read(err)
	o.maxInFlight, err = f.GetInt("max-in-flight")
	read(err)
	o.maxNumSeqs, err = f.GetInt("max-num-seqs")
	read(err)
	o.batchShare, err = f.GetFloat64("batch-share")
	read(err)
	o.accessLog, err = f.GetBool("access-log")
	read(err)
	o.debug, err = f.GetBool("debug")
	read(err)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := o.hideKeys(f.Changed("upstream-api-key")); err != nil {
		return err
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	caddy.TrapSignals()
	if err := caddy.Run(cfg); err != nil {
		return err
	}
	log := caddy.Log().Named("tidegate")
	log.Info("gateway is running", zap.String("listen", o.listen), zap.Strings("upstreams", o.upstreams))
	select {}
}

// keyVariable and upstreamKeyVariable name the variables of the client keys and of
// the key that is sent to the servers.
const (
	keyVariable         = "TIDEGATE_API_KEY"
	upstreamKeyVariable = "TIDEGATE_UPSTREAM_API_KEY"
)

// hidden replaces secrets in the configuration, which the admin endpoint shows: it
// returns the placeholder of a variable. Secrets of the command line become the
// variable's value in this process; without any, the variable keeps its value. It
// returns "" if there is none.
func hidden(variable string, given ...string) (string, error) {
	if len(given) > 0 {
		if err := os.Setenv(variable, strings.Join(given, "\n")); err != nil {
			return "", fmt.Errorf("setting %s: %w", variable, err)
		}
	}
	if os.Getenv(variable) == "" {
		return "", nil
	}
	return "{env." + variable + "}", nil
}

// hideKeys hides the keys.
func (o *serveOptions) hideKeys(upstreamKeyGiven bool) error {
	if slices.ContainsFunc(o.apiKeys, func(key string) bool { return len(splitKeys(key)) == 0 }) {
		return fmt.Errorf("--api-key: %w", errEmptyKey)
	}
	placeholder, err := hidden(keyVariable, o.apiKeys...)
	if err != nil {
		return err
	}
	if placeholder != "" {
		o.apiKeys = []string{placeholder}
	}
	if !upstreamKeyGiven {
		o.upstreamKey, err = hidden(upstreamKeyVariable)
	} else if o.upstreamKey != "" {
		o.upstreamKey, err = hidden(upstreamKeyVariable, o.upstreamKey)
	}
	return err
}

// grace limits the time for which requests continue after the gateway began to stop.
const grace = 30 * time.Second

// config returns the configuration of `tidegate serve`.
func (o serveOptions) config() (*caddy.Config, error) {
	if len(o.upstreams) == 0 {
		return nil, errors.New("no server is configured: specify at least one --upstream http://host:port")
	}
	if err := o.checkListen(); err != nil {
		return nil, err
	}
	app := App{
		Data: o.data, APIKeys: o.apiKeys, AuthOff: o.noAuth,
		Pool:  PoolConfig{APIKey: o.upstreamKey, BatchShare: o.batchShare},
		Batch: BatchConfig{MaxInFlight: o.maxInFlight},
	}
	secure := false
	for _, url := range o.upstreams {
		url = strings.TrimSpace(url)
		u := UpstreamConfig{URL: strings.TrimSuffix(url, "/"), MaxNumSeqs: o.maxNumSeqs}
		if strings.HasPrefix(strings.ToLower(url), "https:") {
			u.TLS, secure = o.upstreamTLS, true
		}
		app.Pool.Upstreams = append(app.Pool.Upstreams, u)
	}
	if !secure && !o.upstreamTLS.config().IsZero() {
		return nil, errors.New("--upstream-ca, --upstream-client-cert, --upstream-client-key and --upstream-server-name are for https servers, and no --upstream is one")
	}
	if err := errors.Join(app.Validate(), app.poolConfig().CheckFiles()); err != nil {
		return nil, err
	}
	server := &caddyhttp.Server{
		Listen:    []string{o.listen},
		AutoHTTPS: &caddyhttp.AutoHTTPSConfig{Disabled: true},
		Protocols: []string{"h1", "h2c"},
		Routes:    caddyhttp.RouteList{{}},
	}
	for _, handler := range handlers {
		server.Routes[0].HandlersRaw = append(server.Routes[0].HandlersRaw, caddyconfig.JSON(map[string]string{"handler": handler}, nil))
	}
	if o.accessLog {
		server.Logs = &caddyhttp.ServerLogConfig{}
	}
	web := caddyhttp.App{GracePeriod: caddy.Duration(grace), Servers: map[string]*caddyhttp.Server{"gateway": server}}
	persist := false
	cfg := &caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: o.admin == "", Listen: o.admin, Config: &caddy.ConfigSettings{Persist: &persist}},
		AppsRaw: caddy.ModuleMap{"tidegate": caddyconfig.JSON(app, nil), "http": caddyconfig.JSON(web, nil)},
	}
	var log caddy.BaseLog
	if o.debug {
		log.Level = zap.DebugLevel.CapitalString()
	}
	if o.accessLog {
		log.EncoderRaw = json.RawMessage(`{"format": "tidegate"}`)
	}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: log}}}
	return cfg, nil
}

// checkListen refuses to listen beyond loopback without authentication.
func (o serveOptions) checkListen() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("--listen %q: %w", o.listen, err)
	}
	if len(o.apiKeys) > 0 || o.noAuth || host == "localhost" {
		return nil
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("--listen %s is reachable from elsewhere, and no API key is configured: specify --api-key, or --no-auth if a proxy in front asks for one", o.listen)
}
