package access

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"time"
)

// Ring has keys that do not change: those of a configuration.
type Ring struct {
	keys []Key
}

// Add adds a key. It returns an error if the ring has a key with the same secret and
// other rights, because a request with that secret would have two identities.
func (r *Ring) Add(k Key) error {
	for i := range r.keys {
		if other := &r.keys[i]; other.Hash == k.Hash && !other.Identity().Equal(k.Identity()) {
			return fmt.Errorf("%s and %s have the same secret", other.Name, k.Name)
		}
	}
	r.keys = append(r.keys, k)
	return nil
}

// Keys returns the keys without their hashes, in the order in which they were added.
func (r *Ring) Keys() []Key {
	keys := slices.Clone(r.keys)
	for i := range keys {
		keys[i].Hash = Hash{}
	}
	return keys
}

// Len returns the number of keys.
func (r *Ring) Len() int { return len(r.keys) }

// Administers reports whether a valid key has the scope admin.
func (r *Ring) Administers(now time.Time) bool {
	for i := range r.keys {
		if k := &r.keys[i]; k.Valid(k.Hash, now) && k.Identity().May(Admin) {
			return true
		}
	}
	return false
}

// Find returns the identity of a secret, and reports whether one of the keys has it. It
// compares all of them, so that its duration does not reveal which one matched.
func (r *Ring) Find(secret string, now time.Time) (id Identity, found bool) {
	h := Sum(secret)
	at := -1
	for i := range r.keys {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(r.keys[i].Hash[:], h[:]), i, at)
	}
	if at < 0 || !r.keys[at].Valid(h, now) {
		return Identity{}, false
	}
	return r.keys[at].Identity(), true
}
