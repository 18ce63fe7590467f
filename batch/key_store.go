package batch

import (
	"context"
	"errors"
	"time"

	"github.com/tidegate/tidegate/access"
)

// ErrTooManyKeys reports that a store has KeysKept keys, none of which is revoked or
// expired.
var ErrTooManyKeys = errors.New("there are too many keys")

// KeysKept limits the keys of a KeyStore, including revoked and expired ones. Of those
// the oldest are removed for new keys.
const KeysKept = 10_000

// KeysCheck decides about a change of keys. It is called with all keys before the change,
// in the transaction of the change, perhaps several times. Its error is returned and the
// change is not made.
type KeysCheck func(keys []access.Key) error

// KeyStore stores API keys, as their hashes.
type KeyStore interface {
	// KeysVersion returns a number that changes with every change of a key.
	KeysVersion(ctx context.Context) (int64, error)
	// Keys returns all keys, the newest first, also revoked and expired ones, and the
	// version that they belong to.
	Keys(ctx context.Context) (keys []access.Key, version int64, err error)
	// Key returns a key.
	Key(ctx context.Context, id string) (access.Key, error)
	// CreateKey creates a key. It takes all fields but CreatedAt and RevokedAt from k.
	// It returns ErrConflict if ID or Hash is in use, and ErrTooManyKeys. check may be
	// nil.
	CreateKey(ctx context.Context, k access.Key, check KeysCheck) (access.Key, error)
	// RevokeKey revokes a key. A revoked one is returned unchanged. check may be nil.
	RevokeKey(ctx context.Context, id string, check KeysCheck) (access.Key, error)
	// RotateKey replaces the hash of a key; the previous one is accepted for overlap. It
	// returns ErrConflict for a key that is revoked or expired.
	RotateKey(ctx context.Context, id string, hash access.Hash, overlap time.Duration) (access.Key, error)
	// ChangeKeyLimits replaces the limits of a key by those that change returns for the
	// present ones, and returns the key. change is called in the transaction, perhaps several
	// times; its error is returned and nothing is changed. A key that has these limits already
	// is returned unchanged. It returns ErrConflict for a key that is revoked or expired.
	ChangeKeyLimits(ctx context.Context, id string, change func(access.Limits) (access.Limits, error)) (access.Key, error)
}
