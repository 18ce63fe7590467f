package tidegatetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Gateway is the gateway as a process.
type Gateway struct {
	process
	URL    string // http://127.0.0.1:PORT, without /v1
	Admin  string // host:port of Caddy's admin endpoint; "" for those of Serve
	Data   string // the data directory
	APIKey string // sent with every request of this package; "" for none
	// Patience limits the time of Ask; 0 is a minute.
	Patience time.Duration

	listen, caddyfile string

	persistent bool // see Persist
	deaths     int
}

// ServeConfig is a gateway without a Caddyfile.
type ServeConfig struct {
	Binary    string // the program; that of Binary when empty
	Sims      []*Sim
	Upstreams []string // URLs of further upstreams
	APIKey    string   // required from clients; "" for none
	Args      []string // further flags; --data names the data directory
	Env       []string // NAME=value, in addition to the test's environment
}

// Serve starts `tidegate serve` in a new data directory and waits for /ready.
func Serve(tb testing.TB, cfg ServeConfig) *Gateway {
	tb.Helper()
	listen := FreeAddr(tb)
	g := &Gateway{URL: "http://" + listen, Data: tb.TempDir(), APIKey: cfg.APIKey, listen: listen}
	if cfg.Binary == "" {
		cfg.Binary = Binary(tb)
	}
	if i := slices.Index(cfg.Args, "--data"); i >= 0 {
		g.Data, cfg.Args = cfg.Args[i+1], slices.Delete(slices.Clone(cfg.Args), i, i+2)
	}
	argv := []string{cfg.Binary, "serve", "--listen", listen, "--data", g.Data}
	for _, upstream := range append(urls(cfg.Sims), cfg.Upstreams...) {
		argv = append(argv, "--upstream", upstream)
	}
	if cfg.APIKey != "" {
		argv = append(argv, "--api-key", cfg.APIKey)
	}
	g.process = process{name: "gateway-" + port(listen), ready: g.URL + "/ready", argv: append(argv, cfg.Args...), env: cfg.Env}
	startProcess(tb, &g.process)
	return g
}

// Start starts a program as it is started elsewhere, with arguments and an
// environment of its own that have it serve url, and waits until health answers.
func Start(tb testing.TB, url, health string, env []string, argv ...string) *Gateway {
	tb.Helper()
	g := &Gateway{URL: url}
	g.process = process{name: "server-" + port(strings.TrimPrefix(url, "http://")), ready: health, argv: argv, env: env}
	startProcess(tb, &g.process)
	return g
}

// Settings are the contents of Run's Caddyfile. Every field except Sims is text in
// Caddyfile syntax that is written into the block of its name.
type Settings struct {
	Sims     []*Sim
	Upstream string // options of the servers
	Global   string // global options
	App      string // tidegate { … }
	Pool     string // tidegate { pool { … } }
	Batch    string // tidegate { batch { … } }
	Site     string // the site; "tidegate" when empty
	BatchOff bool   // batch off { … }
	NoSite   bool   // the Caddyfile has no site
	Listen   string // IP:port of the site, which accepts any host name; a free one when empty

	Binary string   // the program; that of Binary when empty
	Env    []string // NAME=value, in addition to the test's environment
}

// Run starts `tidegate run` with a Caddyfile in a new data directory and waits
// for /ready.
func Run(tb testing.TB, s Settings) *Gateway {
	tb.Helper()
	g := prepare(tb, s)
	startProcess(tb, &g.process)
	return g
}

// RunWorker is Run for a gateway that only works on batches and is never ready for
// clients: it waits for the admin endpoint.
func RunWorker(tb testing.TB, s Settings) *Gateway {
	tb.Helper()
	g := prepare(tb, s)
	g.ready = "http://" + g.Admin + "/config/"
	startProcess(tb, &g.process)
	return g
}

// Persist is Run for a gateway that may die: it does not wait until the gateway is ready,
// repeats API calls until they are answered, and restarts a dead gateway without
// TIDEGATE_FAILPOINTS.
func Persist(tb testing.TB, s Settings) *Gateway {
	tb.Helper()
	g := prepare(tb, s)
	g.persistent = true
	ready := g.ready
	g.ready = ""
	startProcess(tb, &g.process)
	g.ready = ready
	return g
}

// revive starts the gateway again if it is gone.
func (g *Gateway) revive(tb testing.TB) {
	tb.Helper()
	if g.gone() {
		g.deaths++
		g.Unset("TIDEGATE_FAILPOINTS")
		g.launch(tb)
	}
}

// StopAndLaunch stops a persistent gateway gracefully and starts it again. It
// may die while it stops.
func (g *Gateway) StopAndLaunch(tb testing.TB) {
	tb.Helper()
	g.Signal(tb, syscall.SIGTERM)
	if code := g.Wait(tb); code != 0 {
		g.revive(tb)
		return
	}
	g.launch(tb)
}

// Deaths returns the number of restarts of a persistent gateway.
func (g *Gateway) Deaths() int { return g.deaths }

func prepare(tb testing.TB, s Settings) *Gateway {
	tb.Helper()
	listen := s.Listen
	if listen == "" {
		listen = FreeAddr(tb)
	}
	g := &Gateway{URL: "http://" + listen, Admin: FreeAddr(tb), Data: tb.TempDir(), listen: listen}
	g.caddyfile = filepath.Join(tb.TempDir(), "Caddyfile")
	g.WriteCaddyfile(tb, s)
	if s.Binary == "" {
		s.Binary = Binary(tb)
	}
	g.process = process{
		name:  "gateway-" + port(listen),
		ready: g.URL + "/ready",
		argv:  []string{s.Binary, "run", "--config", g.caddyfile},
		env:   s.Env,
	}
	return g
}

// WriteCaddyfile replaces the Caddyfile; it counts from the next start or
// Reload on.
func (g *Gateway) WriteCaddyfile(tb testing.TB, s Settings) {
	tb.Helper()
	if err := os.WriteFile(g.caddyfile, []byte(g.render(s)), 0o644); err != nil {
		tb.Fatalf("writing the Caddyfile: %v", err)
	}
}

func (g *Gateway) render(s Settings) string {
	if s.Site == "" {
		s.Site = "tidegate"
	}
	if s.Upstream != "" {
		s.Upstream = " {\n" + s.Upstream + "\n}"
	}
	off, site := "", ""
	if s.BatchOff {
		off = "off "
	}
	switch {
	case s.Listen != "": // for any host, as behind a proxy
		host, _, _ := strings.Cut(s.Listen, ":")
		site = fmt.Sprintf("http://:%s {\n\tbind %s\n\t%s\n}\n", port(s.Listen), host, s.Site)
	case !s.NoSite:
		site = fmt.Sprintf("http://%s {\n\t%s\n}\n", g.listen, s.Site)
	}
	return fmt.Sprintf(`{
	admin %s
	%s
	tidegate {
		data %s
		%s
		pool {
			upstream %s%s
			%s
		}
		batch %s{
			%s
		}
	}
}
%s`, g.Admin, s.Global, g.Data, s.App, strings.Join(urls(s.Sims), " "), s.Upstream, s.Pool, off, s.Batch, site)
}

// Reload has the running gateway take other settings, by its admin endpoint.
func (g *Gateway) Reload(tb testing.TB, s Settings) {
	tb.Helper()
	g.WriteCaddyfile(tb, s)
	g.admin(tb, "/load", "text/caddyfile", []byte(g.render(s)))
}

// LoadCaddyfile posts the Caddyfile to the admin endpoint once.
func (g *Gateway) LoadCaddyfile(tb testing.TB) error {
	tb.Helper()
	text, err := os.ReadFile(g.caddyfile)
	if err != nil {
		tb.Fatalf("reading the Caddyfile: %v", err)
	}
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://"+g.Admin+"/load", bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	answer, err := probes.Do(request)
	if err != nil {
		return fmt.Errorf("posting /load: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		problem, err := io.ReadAll(answer.Body)
		tb.Fatalf("the configuration was refused with %d: %s (%v)", answer.StatusCode, problem, err)
	}
	return nil
}

// ReloadByCommand does the same by `tidegate reload`.
func (g *Gateway) ReloadByCommand(tb testing.TB, s Settings) {
	tb.Helper()
	g.WriteCaddyfile(tb, s)
	ctx, cancel := context.WithTimeout(tb.Context(), startLimit)
	defer cancel()
	command := exec.CommandContext(ctx, Binary(tb), "reload", "--config", g.caddyfile, "--address", g.Admin)
	command.Env = g.env
	if printed, err := command.CombinedOutput(); err != nil {
		tb.Fatalf("tidegate reload: %v\n%s", err, printed)
	}
}

// Drain stops new requests to an upstream, until Undrain.
func (g *Gateway) Drain(tb testing.TB, s *Sim) {
	tb.Helper()
	g.admin(tb, "/tidegate/upstreams/drain?url="+url.QueryEscape(s.URL), "", nil)
}

// Undrain takes an upstream back.
func (g *Gateway) Undrain(tb testing.TB, s *Sim) {
	tb.Helper()
	g.admin(tb, "/tidegate/upstreams/undrain?url="+url.QueryEscape(s.URL), "", nil)
}

// admin posts to Caddy's admin endpoint, which only takes requests with its
// own address as their host and origin.
func (g *Gateway) admin(tb testing.TB, path, contentType string, body []byte) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.Admin+path, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	answer, err := probes.Do(request)
	if err != nil {
		tb.Fatalf("posting %s to the admin endpoint: %v", path, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		text, err := io.ReadAll(answer.Body)
		tb.Fatalf("the admin endpoint answered %s with %d: %s (%v)", path, answer.StatusCode, text, err)
	}
}

func urls(sims []*Sim) []string {
	list := make([]string, len(sims))
	for i, s := range sims {
		list[i] = s.URL
	}
	return list
}
