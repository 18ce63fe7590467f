package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Prefix begins every managed key, so that scanners of source code can find a key that
// was published by mistake.
const Prefix = "tg-"

// secretBytes is the number of random bytes of a key.
const secretBytes = 32

// Hash is the SHA-256 of a key. Keys are random, so that it needs no salt.
type Hash [sha256.Size]byte

// Sum returns the hash of a key.
func Sum(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// String returns the hash as hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash parses what Hash.String returns.
func ParseHash(text string) (h Hash, err error) {
	if len(text) != hex.EncodedLen(len(h)) {
		return h, fmt.Errorf("a hash has %d hexadecimal digits, not %d", hex.EncodedLen(len(h)), len(text))
	}
	_, err = hex.Decode(h[:], []byte(text))
	return h, err
}

// Key is the stored part of an API key. The secret is not stored: it is shown once, to the
// client that created the key.
type Key struct {
	ID     string // "key_" and random characters
	Name   string
	Tenant string
	Hash   Hash
	Scopes []Scope
	Models []string // that it may use; empty: every model
	Limits Limits

	CreatedAt time.Time
	CreatedBy string    // the id of the key that made it; "" for a client without one
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: it is not revoked

	// PreviousHash is the hash of the secret before the last rotation. That secret is
	// accepted until PreviousUntil.
	PreviousHash  Hash
	PreviousUntil time.Time
}

// NewKey describes a key that a client wants to make.
type NewKey struct {
	ID        string // "" for a random one; a repeated request with the same id makes no second key
	Name      string
	Tenant    string   // "" for that of the client
	Scopes    []string // empty: live and batch
	Models    []string
	Limits    Limits
	ExpiresAt time.Time // zero: never
}

// Generate returns a new key: the prefix and 256 random bits.
func Generate() (secret string) {
	var b [secretBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return Prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// Limits of the fields of a key.
const (
	maxName      = 64  // characters
	maxModels    = 100 // of one key
	maxModelName = 256 // bytes
)

var tenantPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckTenant returns an error for a text that cannot name a tenant.
func CheckTenant(name string) error {
	if !tenantPattern.MatchString(name) {
		return fmt.Errorf("tenant %.100q must have 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit", name)
	}
	return nil
}

// Check returns an error for a key whose name, tenant, scopes or models are not valid.
func (k *Key) Check() error {
	if n := utf8.RuneCountInString(k.Name); n == 0 || n > maxName || strings.ContainsFunc(k.Name, unprintable) || strings.TrimSpace(k.Name) != k.Name {
		return fmt.Errorf("name %.100q must have 1 to %d printable characters, without spaces at its ends", k.Name, maxName)
	}
	if err := CheckTenant(k.Tenant); err != nil {
		return err
	}
	if len(k.Scopes) == 0 {
		return fmt.Errorf("a key needs a scope; scopes are: %s", Join(Scopes, ", "))
	}
	if len(k.Models) > maxModels {
		return fmt.Errorf("a key can name %d models, not %d", maxModels, len(k.Models))
	}
	for _, model := range k.Models {
		if model == "" || len(model) > maxModelName || strings.ContainsFunc(model, unprintable) {
			return errors.New("the name of a model is empty, too long, or has characters that cannot be printed")
		}
	}
	return k.Limits.Check()
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// Identity returns the identity of the key's clients.
func (k *Key) Identity() Identity {
	return Identity{KeyID: k.ID, Name: k.Name, Tenant: k.Tenant, Scopes: k.Scopes, Models: k.Models, Until: k.ExpiresAt, Limits: k.Limits}
}

// Valid reports whether a secret with this hash is accepted at a time.
func (k *Key) Valid(h Hash, now time.Time) bool {
	if !k.RevokedAt.IsZero() || !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return false
	}
	return h == k.Hash || h == k.PreviousHash && now.Before(k.PreviousUntil)
}
