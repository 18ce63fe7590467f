package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/access"
)

// KeyConfig is an API key with a tenant and rights.
type KeyConfig struct {
	// Name identifies the key in lists and logs.
	Name string `json:"name"`
	// Secret is a placeholder for the key: {env.NAME} or {file.PATH}. The key itself
	// is refused, because everyone who sees the configuration would know it.
	Secret string `json:"secret"`
	// Tenant owns what clients with the key make. Default: default.
	Tenant string `json:"tenant,omitempty"`
	// Scopes are live, batch, read, operate and admin. Default: live and batch.
	Scopes []string `json:"scopes,omitempty"`
	// Models are the models that clients with the key may use. Default: every model.
	Models []string `json:"models,omitempty"`
	// Expires is when the key expires: a date such as 2027-01-31 (its start, UTC) or a
	// time as in RFC 3339. Default: never.
	Expires string `json:"expires,omitempty"`
	// Limits limit the use by clients with the key, in addition to the limits of the
	// tenant. Default: no limit.
	Limits access.Limits `json:"limits,omitzero"`
}

// unmarshal parses the name and the block. See App.UnmarshalCaddyfile.
func (k *KeyConfig) unmarshal(d *caddyfile.Dispenser) (err error) {
	if k.Name, err = argument(d); err != nil {
		return err
	}
	if err := block(d, k.options()); err != nil {
		return err
	}
	if k.Secret == "" {
		return d.Errf("key %s needs secret or secret_file", k.Name)
	}
	if _, err := k.key(); err != nil {
		return d.Errf("key %s: %v", k.Name, err)
	}
	return nil
}

// readKey parses a key of the app.
func (a *App) readKey(d *caddyfile.Dispenser) error {
	var k KeyConfig
	if err := k.unmarshal(d); err != nil {
		return err
	}
	for i := range a.Keys {
		if a.Keys[i].Name == k.Name {
			return d.Errf("key %s already specified", k.Name)
		}
	}
	a.Keys = append(a.Keys, k)
	return nil
}

// options returns the options of the block.
func (k *KeyConfig) options() map[string]option {
	secret := func(read func(string) (string, error), want string) option {
		return func(d *caddyfile.Dispenser) error {
			if k.Secret != "" {
				return d.Errf("%s: key %s has a secret already", d.Val(), k.Name)
			}
			return parsed(&k.Secret, want, read)(d)
		}
	}
	return map[string]option{
		"secret": func(d *caddyfile.Dispenser) error {
			value, err := argument(d)
			if err != nil {
				return err
			}
			if k.Secret != "" {
				return d.Errf("secret: key %s has a secret already", k.Name)
			}
			if !readElsewhere(value) { // the error does not repeat the value
				return d.Errf("secret of key %s must be a placeholder, {env.NAME} or {file.PATH}: the configuration does not contain keys", k.Name)
			}
			k.Secret = value
			return nil
		},
		"secret_file": secret(func(path string) (string, error) {
			if strings.TrimSpace(path) == "" || strings.ContainsAny(path, "{}") {
				return "", strconv.ErrSyntax
			}
			return "{file." + path + "}", nil
		}, "the path of a file"),
		"tenant": func(d *caddyfile.Dispenser) (err error) {
			if k.Tenant, err = argument(d); err != nil {
				return err
			}
			return wrap(d, access.CheckTenant(k.Tenant))
		},
		"scopes": words(&k.Scopes, func(names []string) error {
			_, err := access.ParseScopes(names)
			return err
		}),
		"models": words(&k.Models, func(models []string) error {
			if slices.Contains(models, "") {
				return errors.New("models: the name of a model is empty")
			}
			return nil
		}),
		"expires": parsed(&k.Expires, "a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z", func(s string) (string, error) {
			_, err := parseExpires(s)
			return s, err
		}),
		"limits": limitsBlock(&k.Limits),
	}
}

// words parses one or more arguments, which check accepts.
func words(to *[]string, check func([]string) error) option {
	return func(d *caddyfile.Dispenser) error {
		if *to = d.RemainingArgs(); len(*to) == 0 {
			return d.ArgErr()
		}
		return wrap(d, check(*to))
	}
}

// wrap adds the file and the line to an error, if there is one.
func wrap(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}

func parseExpires(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day, nil
	}
	return time.Parse(time.RFC3339, text)
}

// keyID returns the id of a key of the configuration.
func keyID(name string) string { return "static/" + name }

// key returns the key without its hash.
func (k *KeyConfig) key() (key access.Key, err error) {
	key = access.Key{ID: keyID(k.Name), Name: k.Name, Limits: k.Limits, Tenant: cmp.Or(k.Tenant, access.DefaultTenant), Models: k.Models}
	names := k.Scopes
	if len(names) == 0 {
		names = []string{string(access.Live), string(access.Batch)}
	}
	if key.Scopes, err = access.ParseScopes(names); err != nil {
		return key, err
	}
	if k.Expires != "" {
		if key.ExpiresAt, err = parseExpires(k.Expires); err != nil {
			return key, fmt.Errorf("expires %q is neither a date nor a time", k.Expires)
		}
	}
	return key, key.Check()
}

// loadKeys returns the keys of the configuration, hashed.
func (a *App) loadKeys(s *secrets) (ring access.Ring, err error) {
	names := make(map[string]bool)
	for i := range a.Keys {
		config := &a.Keys[i]
		if names[config.Name] {
			return ring, fmt.Errorf("key %s already specified", config.Name)
		}
		names[config.Name] = true
		key, err := config.key()
		if err != nil {
			return ring, fmt.Errorf("key %s: %w", config.Name, err)
		}
		if !readElsewhere(config.Secret) {
			return ring, fmt.Errorf("key %s: its secret must be a placeholder, {env.NAME} or {file.PATH}", config.Name)
		}
		secret, err := s.one(config.Secret)
		if err != nil {
			return ring, fmt.Errorf("key %s: %w", config.Name, err)
		}
		if fields := splitKeys(secret); len(fields) != 1 || fields[0] != strings.TrimSpace(secret) {
			return ring, fmt.Errorf("key %s: %s has %d keys, want one", config.Name, config.Secret, len(fields))
		}
		key.Hash = access.Sum(strings.TrimSpace(secret))
		if err := ring.Add(key); err != nil {
			return ring, err
		}
	}
	seen := make(map[access.Hash]bool)
	for i, secret := range a.APIKeys {
		if strings.TrimSpace(secret) == "" {
			return ring, fmt.Errorf("api_keys: %w", errEmptyKey)
		}
		key := access.Key{
			ID: fmt.Sprintf("api_keys/%d", i+1), Name: fmt.Sprintf("api_keys %d", i+1), Tenant: access.DefaultTenant,
			Hash: access.Sum(secret), Scopes: []access.Scope{access.Admin},
		}
		if seen[key.Hash] {
			continue
		}
		seen[key.Hash] = true
		if err := ring.Add(key); err != nil {
			return ring, err
		}
	}
	return ring, nil
}
