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
			return nil, errors.New("a key is empty")
		}
		ring[i] = sha256.Sum256([]byte(key))
	}
	return ring, nil
}

// keyHeaderNames are the headers, beside Authorization, in which clients send a
// key: X-Api-Key is Anthropic's and BESH's, Api-Key is BESH's and Azure's.
var keyHeaderNames = [...]string{"X-Api-Key", "Api-Key"}

// admits reports whether a request shows one of the keys: as bearer token, in a
// header of keyHeaderNames, or as the password of HTTP Basic authentication with
// any name. A bearer token, if there is one, decides. Without keys every request
// is admitted.
func (k keyring) admits(r *http.Request) bool {
	if len(k) == 0 {
		return true
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return k.has(strings.TrimSpace(token))
	}
	return k.inHeader(r) || k.inPassword(r)
}

// byPassword reports whether a request shows a key only as a password. A browser
// repeats one by itself, also in requests that pages of other origins make.
func (k keyring) byPassword(r *http.Request) bool { return k.inPassword(r) && !k.inHeader(r) }

func (k keyring) inHeader(r *http.Request) bool {
	for _, name := range keyHeaderNames {
		if k.has(strings.TrimSpace(r.Header.Get(name))) {
			return true
		}
	}
	return false
}

func (k keyring) inPassword(r *http.Request) bool {
	_, password, ok := r.BasicAuth()
	return ok && k.has(password)
}

func (k keyring) has(shown string) bool {
	sum := sha256.Sum256([]byte(shown))
	found := 0
	for _, key := range k {
		found |= subtle.ConstantTimeCompare(key[:], sum[:])
	}
	return found == 1
}
