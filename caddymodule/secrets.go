package caddymodule

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// reveal replaces placeholders in keys and in the names of files.
func (a *App) reveal(replacer *caddy.Replacer) (err error) {
	if a.Pool.APIKey, err = secret(replacer, a.Pool.APIKey); err != nil {
		return fmt.Errorf("pool: api_key: %w", err)
	}
	for i := range a.APIKeys {
		if a.APIKeys[i], err = secret(replacer, a.APIKeys[i]); err != nil {
			return fmt.Errorf("api_keys: %w", err)
		}
	}
	for i := range a.Metrics.Keys {
		if a.Metrics.Keys[i], err = secret(replacer, a.Metrics.Keys[i]); err != nil {
			return fmt.Errorf("metrics: keys: %w", err)
		}
	}
	for i := range a.Pool.Upstreams {
		u := &a.Pool.Upstreams[i]
		if u.APIKey, err = secret(replacer, u.APIKey); err != nil {
			return fmt.Errorf("pool: upstreams[%d].api_key: %w", i, err)
		}
		for j, name := range u.TLS.RootCAPEMFiles {
			u.TLS.RootCAPEMFiles[j] = replacer.ReplaceKnown(name, "")
		}
		for _, field := range []*string{&u.TLS.ClientCertificateFile, &u.TLS.ClientCertificateKeyFile, &u.TLS.ServerName} {
			*field = replacer.ReplaceKnown(*field, "")
		}
	}
	return nil
}

// secretFile returns the file that a key is to be read from, if it is.
func secretFile(value string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(value, "{file.")
	name, closed := strings.CutSuffix(rest, "}")
	return name, ok && closed
}

// maxSecret bounds the file of a key in bytes.
const maxSecret = 64 << 10

// secret replaces placeholders in a key. Caddy's replacer makes an empty text of
// {file.PATH} when the file cannot be read: a gateway without a key it was to
// have. Here that is an error, as is an empty file.
func secret(replacer *caddy.Replacer, value string) (string, error) {
	name, ok := secretFile(value)
	if !ok {
		return replacer.ReplaceKnown(value, ""), nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return "", fmt.Errorf("reading key: %w", err)
	}
	if info.Size() > maxSecret {
		return "", fmt.Errorf("reading key: %s has %d bytes, more than a key has", name, info.Size())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("reading key: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return "", fmt.Errorf("reading key: %s is empty", name)
	}
	return string(text), nil
}
