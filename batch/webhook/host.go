package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// hostPattern is a host that batches may name: a name or an address, or *. and a domain, for
// all names below it. Without a port it permits the default port of the scheme.
type hostPattern struct{ host, port string }

var errHost = errors.New("it must be a host such as hooks.example.com, *.example.com or example.com:8443")

// CheckHost returns an error for an invalid pattern of hosts.
func CheckHost(text string) error {
	_, err := parseHost(text)
	return err
}

func parseHost(text string) (p hostPattern, err error) {
	p.host = text
	if host, port, err := net.SplitHostPort(text); err == nil {
		p.host, p.port = host, port
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return p, fmt.Errorf("%q: %w", text, errHost)
		}
	}
	p.host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(p.host, "["), "]"))
	name := strings.TrimPrefix(p.host, "*.")
	if name == "" || strings.ContainsAny(name, "*/@?#[] \t\"'\\%") || strings.HasPrefix(name, ".") {
		return p, fmt.Errorf("%q: %w", text, errHost)
	}
	return p, nil
}

func (p hostPattern) matches(u *url.URL) bool {
	usual := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	if cmp.Or(u.Port(), usual) != cmp.Or(p.port, usual) {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if domain, wild := strings.CutPrefix(p.host, "*"); wild {
		return strings.HasSuffix(host, domain) && len(host) > len(domain)
	}
	return host == p.host
}
