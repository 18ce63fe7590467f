package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// keyring are the API keys, hashed.
type keyring [][sha256.Size]byte

func newKeyring(keys []string) (keyring, error) {
	ring := make(keyring, len(keys))
	for i, key := range keys {
		if strings.TrimSpace(key) == "" {
			return nil, errors.New("api_keys: a key is empty")
		}
		ring[i] = sha256.Sum256([]byte(key))
	}
	return ring, nil
}

// admits tells whether a request shows one of the keys; everybody may come in
// when there are none.
func (k keyring) admits(r *http.Request) bool {
	if len(k) == 0 {
		return true
	}
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") { // Anthropic's clients
		shown = r.Header.Get("X-Api-Key")
	}
	return k.has(strings.TrimSpace(shown))
}

// admitsReader is admits for browsers, which can show a key as the password of
// HTTP Basic authentication.
func (k keyring) admitsReader(r *http.Request) bool {
	if _, password, ok := r.BasicAuth(); ok && k.has(password) {
		return true
	}
	return k.admits(r)
}

func (k keyring) has(shown string) bool {
	sum := sha256.Sum256([]byte(shown))
	found := 0
	for _, key := range k {
		found |= subtle.ConstantTimeCompare(key[:], sum[:])
	}
	return found == 1
}
