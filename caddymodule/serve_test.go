package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/certtest"
)

func TestServeOptions(t *testing.T) {
	const server = "http://gpu-0:8000"
	authority := certtest.New(t).File
	for name, tt := range map[string]struct {
		options serveOptions
		refused string // part of the error; "" for none
	}{
		"a server":                    {serveOptions{upstreams: []string{server}, listen: "127.0.0.1:8080"}, ""},
		"with a slash":                {serveOptions{upstreams: []string{server + "/"}, listen: "127.0.0.1:8080"}, ""},
		"IPv6 loopback":               {serveOptions{upstreams: []string{server}, listen: "[::1]:8080"}, ""},
		"localhost":                   {serveOptions{upstreams: []string{server}, listen: "localhost:8080"}, ""},
		"everywhere with a key":       {serveOptions{upstreams: []string{server}, listen: ":8080", apiKeys: []string{"k"}}, ""},
		"everywhere without, on word": {serveOptions{upstreams: []string{server}, listen: "0.0.0.0:8080", noAuth: true}, ""},
		"everything":                  {serveOptions{upstreams: []string{server, "https://gpu-1"}, listen: "127.0.0.1:0", data: "/d", upstreamKey: "u", admin: "localhost:0", maxInFlight: 9, maxNumSeqs: 8, batchShare: .5, accessLog: true, debug: true}, ""},
		"no server":                   {serveOptions{listen: "127.0.0.1:8080"}, "--upstream"},
		"no port":                     {serveOptions{upstreams: []string{server}, listen: "127.0.0.1"}, "--listen"},
		"everywhere":                  {serveOptions{upstreams: []string{server}, listen: ":8080"}, "--api-key"},
		"a name that is not this one": {serveOptions{upstreams: []string{server}, listen: "example.com:8080"}, "--api-key"},
		"another address":             {serveOptions{upstreams: []string{server}, listen: "10.0.0.1:8080"}, "--api-key"},
		"no scheme":                   {serveOptions{upstreams: []string{"gpu-0:8000"}, listen: "127.0.0.1:8080"}, "gpu-0"},
		"twice the same":              {serveOptions{upstreams: []string{server, server}, listen: "127.0.0.1:8080"}, server},
		"with /v1":                    {serveOptions{upstreams: []string{server + "/v1"}, listen: "127.0.0.1:8080"}, ""},
		"with a route":                {serveOptions{upstreams: []string{server + "/v1/models"}, listen: "127.0.0.1:8080"}, "/v1/models"},
		"a socket":                    {serveOptions{upstreams: []string{"unix//run/vllm.sock"}, listen: "127.0.0.1:8080"}, ""},
		"an authority":                {serveOptions{upstreams: []string{"https://gpu-0", server}, listen: "127.0.0.1:8080", upstreamTLS: TLSConfig{RootCAPEMFiles: []string{authority}}}, ""},
		"no such authority":           {serveOptions{upstreams: []string{"https://gpu-0"}, listen: "127.0.0.1:8080", upstreamTLS: TLSConfig{RootCAPEMFiles: []string{"/nowhere/ca.pem"}}}, "/nowhere/ca.pem"},
		"an authority for nothing":    {serveOptions{upstreams: []string{server}, listen: "127.0.0.1:8080", upstreamTLS: TLSConfig{RootCAPEMFiles: []string{authority}}}, "--upstream-ca"},
		"more than all":               {serveOptions{upstreams: []string{server}, listen: "127.0.0.1:8080", batchShare: 1.5}, "batch_share"},
		"less than nothing":           {serveOptions{upstreams: []string{server}, listen: "127.0.0.1:8080", maxInFlight: -1}, "max_in_flight"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := tt.options.config()
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("got %v, want one about %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// As Caddy reads it.
			text, err := json.Marshal(cfg)
			if err != nil {
				t.Fatal(err)
			}
			var read caddy.Config
			if err := caddy.StrictUnmarshalJSON(text, &read); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&read); err != nil {
				t.Error(err)
			}
		})
	}
}

// What keys the environment holds is not in the help.
func TestHelpShowsNoKey(t *testing.T) {
	t.Setenv("TIDEGATE_API_KEY", "hunter1")
	t.Setenv("TIDEGATE_UPSTREAM_API_KEY", "hunter2")
	for name, c := range caddycmd.Commands() {
		if c.CobraFunc == nil {
			continue
		}
		cmd := &cobra.Command{Use: name}
		c.CobraFunc(cmd)
		if usage := cmd.UsageString(); strings.Contains(usage, "hunter") {
			t.Errorf("%s: %s", name, usage)
		}
	}
}

// The limits for slow clients that the documentation names are Caddy's defaults, for every server.
// The test fails if `serve` or a version of Caddy has no limit or another one.
func TestLimitsForSlowClients(t *testing.T) {
	cfg, err := serveOptions{upstreams: []string{"http://127.0.0.1:1"}, listen: "127.0.0.1:0", data: t.TempDir()}.config()
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Run(cfg); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	}()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	s := app.(*caddyhttp.App).Servers["gateway"]
	if s.MaxHeaderBytes != 16<<10 {
		t.Errorf("headers have at most %d bytes, want 16 KiB", s.MaxHeaderBytes)
	}
	for what, limit := range map[string][2]time.Duration{
		"read_header": {time.Duration(s.ReadHeaderTimeout), time.Minute}, "idle": {time.Duration(s.IdleTimeout), 5 * time.Minute},
		"read_body_idle": {time.Duration(s.ReadIdleTimeout), time.Minute}, "write_idle": {time.Duration(s.WriteIdleTimeout), time.Minute},
		"read_body": {time.Duration(s.ReadTimeout), 0}, "write": {time.Duration(s.WriteTimeout), 0}, // long uploads and streams
	} {
		if limit[0] != limit[1] {
			t.Errorf("%s is %s, want %s", what, limit[0], limit[1])
		}
	}
}
