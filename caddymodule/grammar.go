package caddymodule

import (
	"encoding/json"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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
			return d.Errf("%s stands there twice", word)
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

func text(to *string) option {
	return parsed(to, "a word", func(s string) (string, error) { return s, nil })
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

func number(to *float64) option {
	return parsed(to, "a positive number", func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && !(n > 0 && n < math.Inf(1)) {
			err = strconv.ErrRange
		}
		return n, err
	})
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && n < 1 {
		err = strconv.ErrRange
	}
	return n, err
}

func count(to *int) option { return parsed(to, "a whole number above 0", parseCount) }

// countOrAuto reads a count, or the word for leaving it to the gateway: 0.
func countOrAuto(to *int) option {
	return parsed(to, `a whole number above 0, or "auto"`, func(s string) (int, error) {
		if s == "auto" {
			return 0, nil
		}
		return parseCount(s)
	})
}

func parseSpan(s string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err == nil && d <= 0 {
		err = strconv.ErrRange
	}
	return caddy.Duration(d), err
}

func span(to *caddy.Duration) option { return parsed(to, "a duration above 0", parseSpan) }

// spans reads two durations.
func spans(first, last *caddy.Duration) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		values := d.RemainingArgs()
		if len(values) != 2 {
			return d.ArgErr()
		}
		for i, to := range []*caddy.Duration{first, last} {
			var err error
			if *to, err = parseSpan(values[i]); err != nil {
				return d.Errf("%s must be two durations above 0, not %q", word, values[i])
			}
		}
		return nil
	}
}

func size(to *int64) option {
	return parsed(to, "a size above 0, such as 32MiB", func(s string) (int64, error) {
		n, err := humanize.ParseBytes(s)
		if err == nil && (n == 0 || n > math.MaxInt64) {
			err = strconv.ErrRange
		}
		return int64(n), err
	})
}

// names reads host names, without a scheme or a port. None is what an empty
// variable leaves.
func names(to *[]string) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		*to = d.RemainingArgs()
		for _, name := range *to {
			if name == "" || strings.ContainsAny(name, "/:,") {
				return d.Errf("%s must be host names without scheme and port, not %q", word, name)
			}
		}
		return nil
	}
}

// origins reads origins, or "*" for all. None is what an empty variable leaves.
func origins(to *cors) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		*to = d.RemainingArgs()
		for i, origin := range *to {
			u, err := url.Parse(origin)
			if origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "") {
				return d.Errf("%s must be origins such as https://app.example.com, or *, not %q", word, origin)
			}
			(*to)[i] = strings.ToLower(origin)
		}
		return nil
	}
}

// guest reads the name of a driver and what belongs to it.
func guest(d *caddyfile.Dispenser, namespace string) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, "driver", name, nil), nil
}
