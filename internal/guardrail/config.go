package guardrail

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config configures a guardrail. The zero value configures none.
type Config struct {
	// URL is the http or https address of the service.
	URL string
	// Key is sent to the service as a bearer token. Default: none.
	Key string
	// Timeout limits the time for one decision, DefaultTimeout by default.
	Timeout time.Duration
	// FailOpen lets requests pass when the service does not decide about them.
	// Otherwise live requests are refused then, and batch lines wait.
	FailOpen bool
	// SkipLive and SkipBatch exclude the requests of a class.
	SkipLive, SkipBatch bool
}

// DefaultTimeout is the default of Config.Timeout.
const DefaultTimeout = 2 * time.Second

// Validate checks the configuration. Errors contain neither the key nor a password.
func (c Config) Validate() error {
	if c.URL == "" {
		if c != (Config{}) {
			return errors.New("the URL is missing")
		}
		return nil
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return errors.New("the URL is not valid")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the URL must begin with http:// or https://, not %q", u.Scheme+":")
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	case u.User != nil:
		return errors.New("the URL contains a password: use the option key")
	case u.Fragment != "":
		return errors.New("the URL has a fragment")
	case c.Timeout < 0:
		return errors.New("timeout: must not be negative")
	case c.SkipLive && c.SkipBatch:
		return errors.New("classes: neither live requests nor batch lines are checked")
	case strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return errors.New("key: contains characters that are not allowed in a header")
	}
	return nil
}
