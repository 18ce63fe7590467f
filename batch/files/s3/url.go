package s3

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// urlSettings are the parameters of URLs.
var urlSettings = map[string]func(c *Config, value string) error{
	"endpoint":     func(c *Config, v string) error { c.Endpoint = v; return nil },
	"region":       func(c *Config, v string) error { c.Region = v; return nil },
	"sse":          func(c *Config, v string) error { c.SSE = v; return nil },
	"kms_key_id":   func(c *Config, v string) error { c.KMSKeyID = v; return nil },
	"ca_file":      func(c *Config, v string) error { c.CAFile = v; return nil },
	"path_style":   func(c *Config, v string) (err error) { c.PathStyle, err = strconv.ParseBool(v); return err },
	"virtual_host": func(c *Config, v string) (err error) { c.VirtualHost, err = strconv.ParseBool(v); return err },
	"part_size":    func(c *Config, v string) (err error) { c.PartSize, err = strconv.ParseInt(v, 10, 64); return err },
	"timeout":      func(c *Config, v string) (err error) { c.Timeout, err = time.ParseDuration(v); return err },
	"attempts":     func(c *Config, v string) (err error) { c.Attempts, err = strconv.Atoi(v); return err },
}

// ParseURL reads the settings from
//
//	s3://bucket[/prefix][?endpoint=https://host:port&region=eu-west-1&path_style=true&
//	    virtual_host=true&sse=aws:kms&kms_key_id=ID&ca_file=PATH&part_size=BYTES&timeout=30s&attempts=6]
//
// and checks them. Credentials do not belong into it, for URLs get into logs;
// its errors do not repeat it.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return Config{}, errors.New("parsing S3 URL: it is not a URL")
	case u.Scheme != "s3":
		return Config{}, fmt.Errorf("parsing S3 URL: its scheme is %q instead of s3", u.Scheme)
	case u.User != nil:
		return Config{}, errors.New("parsing S3 URL: credentials do not belong into it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Fragment != "":
		return Config{}, errors.New("parsing S3 URL: it has a fragment (#)")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, errors.New("parsing S3 URL: its parameters are malformed")
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for name, values := range query {
		set, ok := urlSettings[name]
		if !ok {
			return Config{}, fmt.Errorf("parsing S3 URL: unknown parameter %q; there are %s", name, strings.Join(parameters(), ", "))
		}
		if len(values) > 1 {
			return Config{}, fmt.Errorf("parsing S3 URL: parameter %s is given %d times", name, len(values))
		}
		if err := set(&c, values[0]); err != nil {
			return Config{}, fmt.Errorf("parsing S3 URL: parameter %s: %w", name, err)
		}
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("parsing S3 URL: %w", err)
	}
	return c, nil
}

func parameters() []string {
	names := make([]string, 0, len(urlSettings))
	for name := range urlSettings {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
