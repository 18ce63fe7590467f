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

// names parses host names, without a scheme or a port. An empty environment variable
// leaves none.
func names(to *[]string) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		*to = d.RemainingArgs()
		for _, name := range *to {
			if !isHostName(name) {
				return d.Errf("%s must be host names without scheme and port, such as llm.example.com or *.example.com, not %q", word, name)
			}
		}
		return nil
	}
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

// origins parses origins, or "*" for all. An empty environment variable leaves none.
func origins(to *cors) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		*to = d.RemainingArgs()
		for i, origin := range *to {
			if origin != "*" && !isOrigin(origin) {
				return d.Errf("%s must be origins such as https://app.example.com, or *, not %q", word, origin)
			}
			(*to)[i] = strings.ToLower(origin)
		}
		return nil
	}
}
