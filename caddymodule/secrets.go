package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// secrets replaces the placeholders of keys, passwords and URLs with passwords:
// {env.NAME}, {env.NAME:fallback} and {file.PATH}. The values exist only in the
// modules, never in the configuration that Caddy shows and saves.
type secrets struct {
	replacer *caddy.Replacer
	files    []string // that secrets were read from
}

// reveal replaces placeholders in keys and in file names.
func (a *App) reveal(s *secrets) (err error) {
	if a.Pool.APIKey, err = s.one(a.Pool.APIKey); err != nil {
		return fmt.Errorf("pool: api_key: %w", err)
	}
	if a.APIKeys, err = s.keys(a.APIKeys); err != nil {
		return fmt.Errorf("api_keys: %w", err)
	}
	if a.Metrics.Keys, err = s.keys(a.Metrics.Keys); err != nil {
		return fmt.Errorf("metrics: keys: %w", err)
	}
	if key := a.Pool.Guardrail.Key; key != "" && !readElsewhere(key) {
		return errors.New("pool: guardrail: key must be a placeholder such as {env.GUARDRAIL_KEY} or {file./run/secrets/guardrail}")
	}
	if a.Pool.Guardrail.Key, err = s.one(a.Pool.Guardrail.Key); err != nil {
		return fmt.Errorf("pool: guardrail: key: %w", err)
	}
	a.Pool.Guardrail.URL = s.replacer.ReplaceKnown(a.Pool.Guardrail.URL, "")
	if a.webhooks, err = s.webhooks(a.Webhooks); err != nil {
		return err
	}
	for i := range a.Pool.Upstreams {
		u := &a.Pool.Upstreams[i]
		if u.APIKey, err = s.one(u.APIKey); err != nil {
			return fmt.Errorf("pool: upstreams[%d].api_key: %w", i, err)
		}
		for j, name := range u.TLS.RootCAPEMFiles {
			u.TLS.RootCAPEMFiles[j] = s.replacer.ReplaceKnown(name, "")
		}
		for _, field := range []*string{&u.TLS.ClientCertificateFile, &u.TLS.ClientCertificateKeyFile, &u.TLS.ServerName} {
			*field = s.replacer.ReplaceKnown(*field, "")
		}
		if u.TLS.ClientCertificateKeyFile != "" {
			s.files = append(s.files, u.TLS.ClientCertificateKeyFile)
		}
	}
	return nil
}

// one returns the value of a text with placeholders. The value of a variable may
// itself be a placeholder: TIDEGATE_UPSTREAM_API_KEY={file./run/secrets/key}.
func (s *secrets) one(value string) (string, error) {
	text, err := s.expand(value)
	if _, _, _, ok := envPlaceholder(value); !ok || err != nil {
		return text, err
	}
	return s.expand(strings.TrimSpace(text))
}

// url is one for the URL of a driver. The variable may contain the driver's name
// before the URL, as TIDEGATE_STORE does: "postgres postgres://…".
func (s *secrets) url(driver, value string) (string, error) {
	if _, _, _, ok := envPlaceholder(value); !ok {
		return s.expand(value)
	}
	text, err := s.expand(value)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(text)
	if words, err := caddyfile.Tokenize([]byte(text), ""); err == nil && len(words) > 1 && words[0].Text == driver {
		text = words[1].Text
	}
	return s.expand(text)
}

// readElsewhere reports whether a secret is read from a variable or a file, so that the
// configuration does not contain it: not even as a fallback.
func readElsewhere(value string) bool {
	name, _, fallback, ok := envPlaceholder(value)
	if !ok {
		name, ok = secretFile(value)
	}
	return ok && name != "" && !fallback
}

var errEmptyKey = errors.New("a key is empty")

// keys returns the keys in values. Each value may contain several keys, separated by
// commas or white space. A value without a key is an error: it would disable
// authentication by mistake. Only the variable of {env.NAME:} may be unset or blank.
func (s *secrets) keys(values []string) ([]string, error) {
	var all []string
	for _, value := range values {
		words, err := s.keysIn(value)
		if err != nil {
			return nil, err
		}
		all = append(all, words...)
	}
	return all, nil
}

// keysIn returns the keys in one value.
func (s *secrets) keysIn(value string) ([]string, error) {
	text, err := s.expand(value)
	if err != nil {
		return nil, err
	}
	name, _, optional, fromEnv := envPlaceholder(value)
	if fromEnv && strings.TrimSpace(text) == "" {
		if optional {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: the environment variable %s is not set; write {env.%s:} where that is allowed", errEmptyKey, name, name)
	}
	words := splitKeys(text)
	if len(words) == 0 {
		return nil, noKey(value)
	}
	if !fromEnv {
		return words, nil
	}
	var keys []string
	for _, word := range words {
		if text, err = s.expand(word); err != nil {
			return nil, err
		}
		inner := splitKeys(text)
		if len(inner) == 0 {
			return nil, fmt.Errorf("environment variable %s: %w", name, noKey(word))
		}
		keys = append(keys, inner...)
	}
	return keys, nil
}

// noKey returns the error for a value that is not empty and contains no key.
func noKey(value string) error {
	if name, _, _, ok := envPlaceholder(value); ok {
		return fmt.Errorf("%w: the environment variable %s contains no key, only separators or variables that are not set; set a key, or unset it", errEmptyKey, name)
	}
	if name, ok := secretFile(value); ok {
		return fmt.Errorf("%w: %s contains no key, only separators", errEmptyKey, name)
	}
	return errEmptyKey
}

// splitKeys returns the keys of a text, separated by commas or white space.
func splitKeys(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || unicode.IsSpace(c) })
}

// secretFile returns the file that contains a key, if the key is read from one.
func secretFile(value string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(value, "{file.")
	name, closed := strings.CutSuffix(rest, "}")
	return name, ok && closed
}

// maxSecret limits the size of a key file in bytes.
const maxSecret = 64 << 10

// expand replaces the placeholders of a value once. Caddy's replacer replaces
// {file.PATH} by an empty text if the file cannot be read, which would disable
// authentication. Here that is an error, as is an empty file.
func (s *secrets) expand(value string) (string, error) {
	if name, fallback, _, ok := envPlaceholder(value); ok {
		return variable(name, fallback), nil
	}
	name, ok := secretFile(value)
	if !ok {
		return s.replacer.ReplaceKnown(value, ""), nil
	}
	s.files = append(s.files, name)
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
