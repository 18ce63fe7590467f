package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/tidegate/tidegate/upstreams"
)

// balancerNamespace is the namespace of balancers. The value of a module there
// implements upstreams.Balancer.
const balancerNamespace = "tidegate.balancers"

func init() {
	caddy.RegisterModule(new(LeastWorkBalancer))
	caddy.RegisterModule(new(LeastLoadBalancer))
	caddy.RegisterModule(new(RoundRobinBalancer))
	caddy.RegisterModule(new(PrefixHashBalancer))
	caddy.RegisterModule(new(SessionBalancer))
}

// LeastWorkBalancer selects the server with the least pending prefill, including the
// part of the prompt that is not in its prefix cache.
type LeastWorkBalancer struct{ upstreams.LeastWork }

// CaddyModule returns the Caddy module information.
func (*LeastWorkBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: balancerNamespace + ".least_work", New: func() caddy.Module { return new(LeastWorkBalancer) }}
}

// UnmarshalCaddyfile sets up the module:
//
//	least_work
func (*LeastWorkBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return noOptions(d) }

// LeastLoadBalancer selects the server with the fewest requests in flight relative to
// its weight.
type LeastLoadBalancer struct{ upstreams.LeastLoad }

// CaddyModule returns the Caddy module information.
func (*LeastLoadBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: balancerNamespace + ".least_load", New: func() caddy.Module { return new(LeastLoadBalancer) }}
}

// UnmarshalCaddyfile sets up the module:
//
//	least_load
func (*LeastLoadBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return noOptions(d) }

// RoundRobinBalancer selects the servers one after the other.
type RoundRobinBalancer struct{ upstreams.RoundRobin }

// CaddyModule returns the Caddy module information.
func (*RoundRobinBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: balancerNamespace + ".round_robin", New: func() caddy.Module { return new(RoundRobinBalancer) }}
}

// UnmarshalCaddyfile sets up the module:
//
//	round_robin
func (*RoundRobinBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return noOptions(d) }

// PrefixHashBalancer selects the same server for prompts that begin alike.
type PrefixHashBalancer struct{ upstreams.PrefixHash }

// CaddyModule returns the Caddy module information.
func (*PrefixHashBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: balancerNamespace + ".prefix_hash", New: func() caddy.Module { return new(PrefixHashBalancer) }}
}

// UnmarshalCaddyfile sets up the module:
//
//	prefix_hash
func (*PrefixHashBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return noOptions(d) }

// SessionBalancer selects the same server for the requests of a session. Exactly one of
// Header and Field is set.
type SessionBalancer struct {
	// Header is the name of the header that contains the session.
	Header string `json:"header,omitempty"`
	// Field is the name of the string in the request's body that contains the session.
	Field string `json:"field,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SessionBalancer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: balancerNamespace + ".session", New: func() caddy.Module { return new(SessionBalancer) }}
}

// Validate checks that exactly one valid name is set.
func (b *SessionBalancer) Validate() error {
	switch {
	case (b.Header == "") == (b.Field == ""):
		return errors.New("balancer session: either header or field must be specified")
	case b.Header != "" && !httpguts.ValidHeaderFieldName(b.Header):
		return fmt.Errorf("balancer session: header must be the name of a header, not %q", b.Header)
	case b.Field != "" && strings.TrimSpace(b.Field) == "":
		return fmt.Errorf("balancer session: field must be the name of a field, not %q", b.Field)
	}
	return nil
}

// Choose implements upstreams.Balancer.
func (b *SessionBalancer) Choose(candidates []*upstreams.Candidate, q *upstreams.Query) *upstreams.Candidate {
	return upstreams.Session{Header: b.Header, Field: b.Field}.Choose(candidates, q)
}

// UnmarshalCaddyfile sets up the module:
//
//	session header|field <name>
func (b *SessionBalancer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	var kind, name string
	if !d.Args(&kind, &name) {
		return d.Err("balancer session must be followed by `header <name>` or `field <name>`")
	}
	switch kind {
	case "header":
		b.Header = name
	case "field":
		b.Field = name
	default:
		return d.Errf("balancer session must be followed by header or field, not %q", kind)
	}
	if d.NextArg() {
		return d.Errf("balancer session takes one header or one field; %q is too many", d.Val())
	}
	if err := b.Validate(); err != nil {
		return d.WrapErr(err)
	}
	return noBlock(d)
}

// noOptions parses the name of a module without arguments and without a block.
func noOptions(d *caddyfile.Dispenser) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		return d.Errf("balancer %s takes no arguments, got %q", name, d.Val())
	}
	return noBlock(d)
}

func noBlock(d *caddyfile.Dispenser) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unrecognized option %q of balancer", d.Val())
	}
	return nil
}

// balancer parses the name of a balancer and its options.
func balancer(to *json.RawMessage) option {
	return func(d *caddyfile.Dispenser) error {
		if !d.NextArg() {
			return d.ArgErr()
		}
		name := d.Val()
		if _, err := caddy.GetModule(balancerNamespace + "." + name); err != nil {
			var known []string
			for _, m := range caddy.GetModules(balancerNamespace) {
				known = append(known, m.ID.Name())
			}
			return d.Errf("unrecognized balancer %q; balancers are: %s", name, strings.Join(known, ", "))
		}
		module, err := caddyfile.UnmarshalModule(d, balancerNamespace+"."+name)
		if err != nil {
			return err
		}
		*to = caddyconfig.JSONModuleObject(module, "name", name, nil)
		return nil
	}
}

// loadBalancer loads the configured balancer, nil if there is none.
func (p *PoolConfig) loadBalancer(ctx caddy.Context) error {
	if p.BalancerRaw == nil {
		return nil
	}
	module, err := ctx.LoadModule(p, "BalancerRaw")
	if err != nil {
		return fmt.Errorf("loading balancer: %w", err)
	}
	b, ok := module.(upstreams.Balancer)
	if !ok {
		return fmt.Errorf("%T cannot be used as balancer", module)
	}
	p.balancer = b
	return nil
}

var (
	_ upstreams.Balancer    = (*LeastWorkBalancer)(nil)
	_ upstreams.Balancer    = (*LeastLoadBalancer)(nil)
	_ upstreams.Balancer    = (*RoundRobinBalancer)(nil)
	_ upstreams.Balancer    = (*PrefixHashBalancer)(nil)
	_ upstreams.Balancer    = (*SessionBalancer)(nil)
	_ caddy.Validator       = (*SessionBalancer)(nil)
	_ caddyfile.Unmarshaler = (*LeastWorkBalancer)(nil)
	_ caddyfile.Unmarshaler = (*LeastLoadBalancer)(nil)
	_ caddyfile.Unmarshaler = (*RoundRobinBalancer)(nil)
	_ caddyfile.Unmarshaler = (*PrefixHashBalancer)(nil)
	_ caddyfile.Unmarshaler = (*SessionBalancer)(nil)
)
