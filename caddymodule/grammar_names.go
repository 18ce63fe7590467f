package caddymodule

import (
	"cmp"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// several parses values separated by spaces or commas. parse returns a value as it is
// stored, or false if it is not what want describes. An empty environment variable
// leaves none.
func several[T ~[]string](to *T, want string, parse func(string) (string, bool)) option {
	return func(d *caddyfile.Dispenser) error {
		word, args := d.Val(), d.RemainingArgs()
		for i, arg := range args {
			for _, value := range listed(arg, len(*to) == 0 && i == len(args)-1) {
				parsed, ok := parse(value)
				if !ok {
					return d.Errf("%s must be %s, not %q", word, want, value)
				}
				*to = append(*to, parsed)
			}
		}
		return nil
	}
}

// listed returns the values in an argument, which are separated by commas. An empty
// argument, and one that has only separators and is the only one, is returned as it is,
// to be refused.
func listed(arg string, only bool) []string {
	values := strings.FieldsFunc(arg, func(c rune) bool { return c == ',' })
	if arg == "" || len(values) == 0 && only {
		return []string{arg}
	}
	return values
}

// names parses host names, without a scheme or a port.
func names(to *[]string) option {
	return several(to, "host names without scheme and port, such as llm.example.com or *.example.com", func(name string) (string, bool) {
		return name, isHostName(name)
	})
}

// isHostName reports whether name is a host name or an address. An asterisk may
// replace the whole first label only.
func isHostName(name string) bool {
	if rest, wild := strings.CutPrefix(name, "*."); wild {
		name = rest
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range label {
			if c <= ' ' || c == 0x7f || c < utf8.RuneSelf && strings.ContainsRune("!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~", c) {
				return false
			}
		}
	}
	return len(name) < 254
}

// isOrigin reports whether s is a scheme, a host and optionally a port.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") || strings.Contains(s, "*") {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !isHostName(u.Hostname()) {
		return false
	}
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "1"), 10, 16)
	return err == nil && port > 0 && !strings.HasSuffix(u.Host, ":")
}

// origins parses origins, or "*" for all.
func origins(to *cors) option {
	return several(to, "origins such as https://app.example.com, or *", func(origin string) (string, bool) {
		return strings.ToLower(origin), origin == "*" || isOrigin(origin)
	})
}
