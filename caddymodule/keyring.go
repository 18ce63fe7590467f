package caddymodule

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// keyring contains keys without rights of their own, hashed.
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

// keyHeaderNames are the headers, in addition to Authorization, in which clients send
// a key: X-Api-Key is used by Anthropic and BESH, Api-Key by BESH and Azure.
var keyHeaderNames = [...]string{"X-Api-Key", "Api-Key"}

// credential is a key in a request.
type credential struct {
	header   string // the header that contains it
	key      string
	password bool // as password of HTTP Basic authentication
}

// credentials returns the keys in a request: as bearer token, in a header of
// keyHeaderNames, or as the password of HTTP Basic authentication with any user name.
func credentials(r *http.Request) []credential {
	var shown []credential
	for _, value := range r.Header["Authorization"] {
		scheme, token, _ := strings.Cut(value, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
			shown = append(shown, credential{"Authorization", strings.TrimSpace(token), false})
		case strings.EqualFold(scheme, "Basic"):
			one := http.Request{Header: http.Header{"Authorization": {value}}}
			if _, password, ok := one.BasicAuth(); ok {
				shown = append(shown, credential{"Authorization", password, true})
			}
		}
	}
	for _, name := range keyHeaderNames {
		for _, value := range r.Header[name] {
			shown = append(shown, credential{name, strings.TrimSpace(value), false})
		}
	}
	return shown
}

// admits reports whether any of the request's keys is in k. Without keys every request
// is admitted.
func (k keyring) admits(r *http.Request) bool {
	if len(k) == 0 {
		return true
	}
	found := false
	for _, c := range credentials(r) {
		found = k.has(c.key) || found // all are compared, so that the timing does not reveal which one matched
	}
	return found
}

func (k keyring) has(shown string) bool {
	sum := sha256.Sum256([]byte(shown))
	found := 0
	for _, key := range k {
		found |= subtle.ConstantTimeCompare(key[:], sum[:])
	}
	return found == 1
}
