package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/internal/guardrail"
)

// GuardrailConfig configures the HTTP service that decides whether requests are sent to
// a model. See docs/guardrail.md for its protocol.
type GuardrailConfig struct {
	// URL is the http or https address of the service. Placeholders such as {env.URL}
	// are replaced. Default: none, every request is sent.
	URL string `json:"url,omitempty"`
	// Key is sent to it as a bearer token: a placeholder such as {env.KEY} or
	// {file./run/secrets/key}.
	Key string `json:"key,omitempty"`
	// Timeout limits the time for one decision. Default 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Fail applies to requests that the service does not decide about: "closed" refuses
	// live requests and lets batch lines wait, "open" sends both. Default closed.
	Fail string `json:"fail,omitempty"`
	// Classes are the classes of requests that are checked, "live" and "batch".
	// Default: both.
	Classes []string `json:"classes,omitempty"`
}

// Values of GuardrailConfig.
const (
	failClosed   = "closed"
	failOpen     = "open"
	classesLive  = "live"
	classesBatch = "batch"
)

func (g *GuardrailConfig) config() guardrail.Config {
	return guardrail.Config{
		URL: g.URL, Key: g.Key, Timeout: duration(g.Timeout), FailOpen: g.Fail == failOpen,
		SkipLive:  len(g.Classes) > 0 && !slices.Contains(g.Classes, classesLive),
		SkipBatch: len(g.Classes) > 0 && !slices.Contains(g.Classes, classesBatch),
	}
}

// unmarshal parses it. Without a URL, because an environment variable is empty, there
// is no guardrail.
func (g *GuardrailConfig) unmarshal(d *caddyfile.Dispenser) error {
	var read GuardrailConfig
	if d.NextArg() {
		read.URL = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	at := *d
	if err := block(d, read.options()); err != nil {
		return err
	}
	if read.URL == "" {
		return nil
	}
	checked := read.config()
	checked.Key = "" // it may still be a placeholder
	if !strings.Contains(read.URL, "{") {
		if err := checked.Validate(); err != nil {
			return at.Errf("guardrail: %v", err)
		}
	}
	*g = read
	return nil
}

func (g *GuardrailConfig) options() map[string]option {
	return map[string]option{
		"timeout": span(&g.Timeout),
		"fail":    oneOf(&g.Fail, failClosed, failOpen),
		"key": func(d *caddyfile.Dispenser) error {
			if err := optionalText(&g.Key)(d); err != nil {
				return err
			}
			if g.Key != "" && !readElsewhere(g.Key) { // the error does not repeat the value
				return d.Err("key must be a placeholder such as {env.GUARDRAIL_KEY} or {file./run/secrets/guardrail}, so that no configuration shows it")
			}
			return nil
		},
		"classes": func(d *caddyfile.Dispenser) error {
			if g.Classes = d.RemainingArgs(); len(g.Classes) == 0 {
				return d.ArgErr()
			}
			for _, class := range g.Classes {
				if class != classesLive && class != classesBatch {
					return d.Errf("classes must be live, batch or both, not %q", class)
				}
			}
			return nil
		},
	}
}
