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

// option parses the arguments of one subdirective.
type option func(*caddyfile.Dispenser) error

// block parses a block of options, each at most once unless it is repeatable.
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

// argument parses exactly one argument.
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

// urlAndBlock parses the directive of a driver: its URL, which parse checks unless it has a
// placeholder, and a block of options.
func urlAndBlock[T any](d *caddyfile.Dispenser, url *string, parse func(string) (T, error), options map[string]option) (err error) {
	d.Next()
	if *url, err = argument(d); err != nil {
		return err
	}
	if !strings.Contains(*url, "{") {
		if _, err := parse(*url); err != nil {
			return d.WrapErr(err)
		}
	}
	return block(d, options)
}

// parsed returns an option with one argument; want describes valid arguments in
// errors.
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

// text returns an option with one nonempty argument.
func text(to *string) option {
	return parsed(to, "a word that is not empty", func(s string) (string, error) {
		if strings.TrimSpace(s) == "" {
			return "", strconv.ErrSyntax
		}
		return s, nil
	})
}

// optionalText returns an option with at most one argument. An empty environment
// variable leaves none.
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

// optional makes the arguments of an option optional. An empty environment variable
// leaves none.
func optional(o option) option {
	return func(d *caddyfile.Dispenser) error {
		if d.CountRemainingArgs() == 0 {
			return nil
		}
		return o(d)
	}
}

// guest parses the name of a driver and its options. {env.NAME} and
// {env.NAME:fallback} replace both: the driver is selected now, but a URL, which may
// contain a password, is read when the configuration is loaded.
func guest(d *caddyfile.Dispenser, namespace string) (json.RawMessage, error) {
	word := d.Token()
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	placeholder := d.Val()
	name, fallback, _, ok := envPlaceholder(placeholder)
	if !ok {
		return driver(d, word.Text, namespace, "")
	}
	words, err := caddyfile.Tokenize([]byte(variable(name, fallback)), d.File())
	if err != nil {
		return nil, d.Errf("%s: reading the environment variable %s: %v", word.Text, name, err)
	}
	if len(words) == 0 {
		return nil, d.Errf("%s: the environment variable %s is not set", word.Text, name)
	}
	for i := range words {
		words[i].Line += d.Line() - 1
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	inner := caddyfile.NewDispenser(append([]caddyfile.Token{word}, words...))
	inner.Next()
	inner.NextArg()
	return driver(inner, word.Text, namespace, placeholder)
}

// driver parses the options of the driver that d is at. source, unless empty, is the
// placeholder for the name and the URL.
func driver(d *caddyfile.Dispenser, word, namespace, source string) (json.RawMessage, error) {
	name := d.Val()
	if _, err := caddy.GetModule(namespace + name); err != nil {
		modules := caddy.GetModules(strings.TrimSuffix(namespace, "."))
		known := make([]string, 0, len(modules))
		for _, m := range modules {
			known = append(known, m.ID.Name())
		}
		return nil, d.Errf("unrecognized %s driver %q; drivers are: %s", word, name, strings.Join(known, ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return nil, err
	}
	if m, ok := module.(interface{ readFrom(placeholder string) }); ok && source != "" {
		m.readFrom(source)
	}
	return caddyconfig.JSONModuleObject(module, "driver", name, nil), nil
}
