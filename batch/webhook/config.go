package webhook

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/tidegate/tidegate/batch"
)

// Config are the endpoints of a gateway. All gateways of a store should have the same.
type Config struct{ Endpoints []Endpoint }

// Endpoint receives events of batches.
type Endpoint struct {
	// URL is the address. "" means that batches name theirs in their metadata.
	URL string
	// Hosts are the hosts that batches may name, see hostPattern. Only without URL.
	Hosts []string
	// Secrets sign each webhook. The first is the current one; others are for receivers
	// that do not have it yet.
	Secrets []Secret
	// Tenants are the tenants whose batches are reported; batch.AllTenants for all.
	// Default: batch.DefaultTenant.
	Tenants []string
	// Events are the reported final states. Default: all.
	Events []batch.Status
	// AllowPrivate permits addresses that are not public, and http.
	AllowPrivate bool
}

var errNoSecret = errors.New("a webhook needs a secret")

// Validate returns an error for the first invalid endpoint.
func (c Config) Validate() error {
	seen := make(map[string]bool)
	named := make(map[string]string) // a tenant of each address
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if err := e.validate(); err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		for _, r := range e.routes() {
			if seen[r.id] {
				return fmt.Errorf("%s: already specified for tenant %s", e.Name(), r.tenant)
			}
			seen[r.id] = true
			other, known := named[r.endpoint]
			if known && (other == batch.AllTenants || r.tenant == batch.AllTenants) {
				return fmt.Errorf("%s: specified for tenant %s and for all tenants (%s), so that its batches would be reported twice; remove one of them", e.Name(), single(other, r.tenant), batch.AllTenants)
			}
			named[r.endpoint] = r.tenant
		}
	}
	return nil
}

// single returns which of two tenants is not batch.AllTenants.
func single(a, b string) string {
	if a == batch.AllTenants {
		return b
	}
	return a
}

func (e *Endpoint) validate() error {
	if len(e.Secrets) == 0 {
		return errNoSecret
	}
	return e.CheckAddress()
}

// CheckAddress returns an error for an invalid address, or for invalid hosts that batches may
// name.
func (e *Endpoint) CheckAddress() error {
	if e.URL != "" {
		if len(e.Hosts) > 0 {
			return errors.New("hosts are for webhooks of metadata")
		}
		_, err := e.parse(e.URL)
		return err
	}
	if len(e.Hosts) == 0 {
		return errors.New("webhooks of metadata need hosts that they may be sent to")
	}
	for _, h := range e.Hosts {
		if _, err := parseHost(h); err != nil {
			return err
		}
	}
	return nil
}

// Name returns the address without its query, for logs and lists.
func (e *Endpoint) Name() string {
	if e.URL == "" {
		return batch.MetadataEndpoint
	}
	return nameOf(e.URL)
}

// nameOf returns a URL without user and query, which may contain secrets.
func nameOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "[invalid URL]"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// parse reads an address and checks its form.
func (e *Endpoint) parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("it is no valid URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, errors.New("it must be a URL such as https://example.com/hook")
	case u.Scheme == "http" && !e.AllowPrivate:
		return nil, errors.New("it must begin with https://")
	case u.User != nil:
		return nil, errors.New("it must not contain a user or a password: the signature authenticates webhooks")
	case u.Fragment != "":
		return nil, errors.New("it must not contain a fragment")
	}
	return u, nil
}

// address returns where a delivery is sent to.
func (e *Endpoint) address(d batch.Delivery) (string, error) {
	if e.URL != "" {
		return e.URL, nil
	}
	return d.URL, e.allows(d.URL)
}

// allows returns an error unless a batch may name the address.
func (e *Endpoint) allows(address string) error {
	u, err := e.parse(address)
	if err != nil {
		return err
	}
	for _, h := range e.Hosts {
		if p, err := parseHost(h); err == nil && p.matches(u) {
			return nil
		}
	}
	return fmt.Errorf("webhooks to %s are not allowed", u.Host)
}

// route is an endpoint for one tenant. Each has its own limit of concurrent attempts.
type route struct {
	id       string
	endpoint string // the beginning of id, the same for every tenant
	tenant   string
	*Endpoint
}

func (e *Endpoint) routes() []route {
	tenants := e.Tenants
	if len(tenants) == 0 {
		tenants = []string{batch.DefaultTenant}
	}
	id := batch.MetadataEndpoint
	if e.URL != "" {
		id = "url-" + hex.EncodeToString(batch.ShortHash(e.URL))
	}
	out := make([]route, len(tenants))
	for i, t := range tenants {
		out[i] = route{id + ":" + t, id, t, e}
	}
	return out
}

// targets returns the targets of all endpoints.
func targets(routes []route) []batch.WebhookTarget {
	var out []batch.WebhookTarget
	for _, r := range routes {
		for _, event := range EventTypes() {
			if len(r.Events) == 0 || slices.Contains(r.Events, event) {
				out = append(out, batch.WebhookTarget{Endpoint: r.id, Tenant: r.tenant, Event: event, Metadata: r.URL == ""})
			}
		}
	}
	return out
}
