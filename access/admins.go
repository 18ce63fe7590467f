package access

import "errors"

// Errors of changes after which no key could manage the others.
var (
	// ErrFirstKey reports that a key cannot be the first one.
	ErrFirstKey = errors.New("the first key needs the scope admin, without models and without expiry, because clients without a key are refused from then on")
	// ErrLastAdmin reports that no other key has the scope admin.
	ErrLastAdmin = errors.New("this is the last key with the scope admin that does not expire: make another one first, or configure one")
)

// Administers reports whether a key can manage every key for an unlimited time: it has the
// scope admin, does not expire, is not revoked and not limited to some models.
func (k *Key) Administers() bool {
	return k.Identity().May(Admin) && k.ExpiresAt.IsZero() && k.RevokedAt.IsZero() && len(k.Models) == 0
}

// CheckFirst returns ErrFirstKey if none of the keys has the scope admin, and the new one
// does not administer.
func CheckFirst(keys []Key, n *Key) error {
	for i := range keys {
		if k := &keys[i]; k.RevokedAt.IsZero() && k.Identity().May(Admin) {
			return nil
		}
	}
	if n.Administers() {
		return nil
	}
	return ErrFirstKey
}

// CheckRevoke returns ErrLastAdmin if a key has the scope admin and none of the others
// administers.
func CheckRevoke(keys []Key, id string) error {
	admin := false
	for i := range keys {
		k := &keys[i]
		if k.ID == id {
			admin = k.RevokedAt.IsZero() && k.Identity().May(Admin)
		} else if k.Administers() {
			return nil
		}
	}
	if admin {
		return ErrLastAdmin
	}
	return nil
}
