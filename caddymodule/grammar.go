package caddymodule

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// option reads the arguments of one word of a block.
type option func(*caddyfile.Dispenser) error

// block reads a block of options, each at most once unless it is repeatable.
func block(d *caddyfile.Dispenser, options map[string]option, repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		read, known := options[word]
		switch {
		case !known:
			return d.Errf("unrecognized option %q", word)
		case seen[word] && !slices.Contains(repeatable, word):
			return d.Errf("%s already specified", word)
		}
		seen[word] = true
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// argument reads exactly one argument.
func argument(d *caddyfile.Dispenser) (string, error) {
	if !d.NextArg() {
		return "", d.ArgErr()
	}
	value := d.Val()
	if d.NextArg() {
		return "", d.ArgErr()
	}
	return value, nil
}

// parsed reads one argument with parse; want says what it must be.
func parsed[T any](to *T, want string, parse func(string) (T, error)) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		value, err := argument(d)
		if err != nil {
			return err
		}
		if *to, err = parse(value); err != nil {
			return d.Errf("%s must be %s, not %q", word, want, value)
		}
		return nil
	}
}

// text reads one word that is not empty.
func text(to *string) option {
	return parsed(to, "a word that is not empty", func(s string) (string, error) {
		if strings.TrimSpace(s) == "" {
			return "", strconv.ErrSyntax
		}
		return s, nil
	})
}

// optionalText reads at most one argument. None is what a variable leaves that
// is set to nothing.
func optionalText(to *string) option {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			*to = d.Val()
		}
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
}

// optional reads an argument, if there is one. None is what a variable leaves that
// is set to nothing.
func optional(o option) option {
	return func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() == 0 {
			return nil
		}
		return o(d)
	}
}

// guest reads the name of a driver and what belongs to it.
func guest(d *caddyfile.Dispenser, namespace string) (json.RawMessage, error) {
	word := d.Val()
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	name := d.Val()
	if _, err := caddy.GetModule(namespace + name); err != nil {
		var known []string
		for _, m := range caddy.GetModules(strings.TrimSuffix(namespace, ".")) {
			known = append(known, m.ID.Name())
		}
		return nil, d.Errf("unrecognized %s driver %q; drivers are: %s", word, name, strings.Join(known, ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "driver", name, nil), nil
}
