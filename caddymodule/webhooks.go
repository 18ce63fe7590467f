package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/webhook"
)

// WebhookConfig configures an endpoint that learns of the ends of batches.
type WebhookConfig struct {
	// URL is the address; placeholders are replaced. "metadata" stands for the addresses
	// that batches name under tidegate_webhook_url in their metadata.
	URL string `json:"url"`
	// Secrets sign the webhooks: placeholders such as {env.WEBHOOK_SECRET} and
	// {file./run/secrets/webhook} for whsec_ and base64. Each adds a signature.
	Secrets []string `json:"secrets"`
	// Tenants are the tenants whose batches are reported; "*" for all. Default: the
	// tenant default.
	Tenants []string `json:"tenants,omitempty"`
	// Events are the types of reported events, such as batch.completed. Default: all.
	Events []string `json:"events,omitempty"`
	// Hosts are the hosts that batches may name: a name, *. and a domain, or either with
	// a port. Only with the URL metadata.
	Hosts []string `json:"hosts,omitempty"`
	// AllowPrivate permits private, loopback and link-local addresses, and http.
	// Default: false.
	AllowPrivate bool `json:"allow_private,omitempty"`
}

// mostTenants limits the tenants of a webhook.
const mostTenants = 1000

var errLiteralSecret = errors.New("a secret must be a placeholder such as {env.WEBHOOK_SECRET} or {file./run/secrets/webhook}, so that no configuration shows it")

// readWebhook parses a webhook.
func (a *App) readWebhook(d *caddyfile.Dispenser) error {
	var w WebhookConfig
	if err := text(&w.URL)(d); err != nil {
		return err
	}
	if err := block(d, w.options()); err != nil {
		return err
	}
	if len(w.Secrets) == 0 {
		return d.Err("webhook needs a secret")
	}
	if err := w.checkAddress(); err != nil {
		return d.Errf("webhook %s: %v", w.URL, err)
	}
	a.Webhooks = append(a.Webhooks, w)
	return nil
}

func (w *WebhookConfig) options() map[string]option {
	types := slices.Sorted(maps.Keys(webhook.EventTypes()))
	return map[string]option{
		"secret": func(d *caddyfile.Dispenser) error {
			if w.Secrets = d.RemainingArgs(); slices.ContainsFunc(w.Secrets, func(s string) bool { return !readElsewhere(s) }) {
				return d.WrapErr(errLiteralSecret) // without the secret
			}
			return nil
		},
		"tenant": several(&w.Tenants, "names of tenants, or *", func(s string) (string, bool) { return s, s != "" }),
		"events": several(&w.Events, "of "+strings.Join(types, ", "), func(s string) (string, bool) { return s, slices.Contains(types, s) }),
		"hosts":  several(&w.Hosts, "hosts such as hooks.example.com, *.example.com or example.com:8443", func(s string) (string, bool) { return s, webhook.CheckHost(s) == nil }),
		"allow_private": func(d *caddyfile.Dispenser) error {
			if d.NextArg() {
				return d.ArgErr()
			}
			w.AllowPrivate = true
			return nil
		},
	}
}

// checkAddress checks the address and the hosts, unless the address is read later.
func (w *WebhookConfig) checkAddress() error {
	e := webhook.Endpoint{URL: w.URL, Hosts: w.Hosts, AllowPrivate: w.AllowPrivate}
	switch {
	case strings.HasPrefix(w.URL, "{"): // a placeholder
		return nil
	case w.URL == batch.MetadataEndpoint:
		e.URL = ""
	}
	return e.CheckAddress()
}

// webhooks returns the endpoints with their secrets.
func (s *secrets) webhooks(all []WebhookConfig) (c webhook.Config, err error) {
	for i, w := range all {
		e, err := s.webhook(w)
		if err != nil {
			return c, fmt.Errorf("webhooks[%d]: %w", i, err)
		}
		c.Endpoints = append(c.Endpoints, e)
	}
	return c, nil
}

func (s *secrets) webhook(w WebhookConfig) (e webhook.Endpoint, err error) {
	e = webhook.Endpoint{Hosts: w.Hosts, Tenants: w.Tenants, AllowPrivate: w.AllowPrivate}
	if w.URL != batch.MetadataEndpoint {
		if e.URL, err = s.one(w.URL); err != nil {
			return e, err
		}
		if e.URL == "" {
			return e, errors.New("its url is empty")
		}
	}
	if len(w.Tenants) > mostTenants {
		return e, fmt.Errorf("it has %d tenants, more than %d; use * for all", len(w.Tenants), mostTenants)
	}
	for _, value := range w.Secrets {
		if !readElsewhere(value) {
			return e, errLiteralSecret
		}
		text, err := s.one(value)
		if err != nil {
			return e, err
		}
		secret, err := webhook.ParseSecret(strings.TrimSpace(text))
		if err != nil {
			return e, fmt.Errorf("secret %s: %w", value, err)
		}
		e.Secrets = append(e.Secrets, secret)
	}
	for _, name := range w.Events {
		event, known := webhook.EventTypes()[name]
		if !known {
			return e, fmt.Errorf("unknown event %q", name)
		}
		e.Events = append(e.Events, event)
	}
	return e, nil
}
