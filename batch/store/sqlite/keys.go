package sqlite

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// keyOver is true for a key that is not valid any more at ?1.
	keyOver = `(revoked_at IS NOT NULL OR expires_at <= ?1)`
)

var (
	keysVersion = reads(`SELECT version FROM api_keys_version WHERE one = 1`)
	countChange = writes(`UPDATE api_keys_version SET version = version + 1 WHERE one = 1`)
	selectKeys  = reads(`SELECT ` + store.KeyColumns + ` FROM api_keys ORDER BY seq DESC`)
	selectKey   = reads(`SELECT ` + store.KeyColumns + ` FROM api_keys WHERE id = ?`)
	countKeys   = reads(`SELECT count(*) FROM api_keys`)
	forgetKey   = writes(`DELETE FROM api_keys WHERE seq = (SELECT seq FROM api_keys WHERE ` + keyOver + ` ORDER BY seq LIMIT 1)`)
	keyTaken    = reads(`SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?1) OR EXISTS (SELECT 1 FROM api_keys WHERE hash = ?2)`)
	insertKey   = writes(`INSERT INTO api_keys (` + store.KeyColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', NULL, ?) RETURNING ` + store.KeyColumns)
	revokeKey   = writes(`UPDATE api_keys SET revoked_at = coalesce(revoked_at, ?1) WHERE id = ?2 RETURNING ` + store.KeyColumns)
	limitKey    = writes(`UPDATE api_keys SET limits = ? WHERE id = ? RETURNING ` + store.KeyColumns)
	rotateKey   = writes(`UPDATE api_keys SET previous_hash = hash, previous_until = ?1, hash = ?2 WHERE id = ?3 RETURNING ` + store.KeyColumns)
)

// KeysVersion returns the number of changes of keys.
func (s *Store) KeysVersion(ctx context.Context) (version int64, err error) {
	err = s.read(ctx, "reading version of keys", func(t *tx) error {
		version, err = one(ctx, t, keysVersion, store.Value[int64])
		return err
	})
	return version, err
}

// Keys returns all keys and their version.
func (s *Store) Keys(ctx context.Context) (keys []access.Key, version int64, err error) {
	err = s.read(ctx, "reading keys", func(t *tx) error {
		if version, err = one(ctx, t, keysVersion, store.Value[int64]); err != nil {
			return err
		}
		keys, err = all(ctx, t, selectKeys, store.ScanKey)
		return err
	})
	return keys, version, err
}

// Key returns a key.
func (s *Store) Key(ctx context.Context, id string) (k access.Key, err error) {
	err = s.read(ctx, "reading key", func(t *tx) error {
		k, err = one(ctx, t, selectKey, store.ScanKey, id)
		return err
	})
	return k, err
}

// checkKeys calls check with all keys.
func checkKeys(ctx context.Context, t *tx, check batch.KeysCheck) error {
	if check == nil {
		return nil
	}
	keys, err := all(ctx, t, selectKeys, store.ScanKey)
	if err != nil {
		return err
	}
	return check(keys)
}

// CreateKey inserts a key.
func (s *Store) CreateKey(ctx context.Context, n access.Key, check batch.KeysCheck) (k access.Key, err error) {
	models, err := store.EncodeModels(n.Models)
	if err != nil {
		return k, err
	}
	limits, err := store.EncodeLimits(n.Limits)
	if err != nil {
		return k, err
	}
	err = s.write(ctx, "creating key", func(t *tx) error {
		taken, err := one(ctx, t, keyTaken, store.Value[bool], n.ID, n.Hash.String())
		switch {
		case err != nil:
			return err
		case taken:
			return batch.ErrConflict
		}
		if err := checkKeys(ctx, t, check); err != nil {
			return err
		}
		count, err := one(ctx, t, countKeys, store.ScanCount)
		if err != nil {
			return err
		}
		if count >= batch.KeysKept {
			forgotten, err := t.exec(ctx, forgetKey, store.Micros(t.now))
			if err != nil {
				return err
			}
			if forgotten == 0 {
				return batch.ErrTooManyKeys
			}
		}
		k, err = one(ctx, t, insertKey, store.ScanKey, n.ID, n.Name, n.Tenant, n.Hash.String(), store.Scopes(n.Scopes), models,
			store.Micros(t.now), n.CreatedBy, store.TimeOrNull(n.ExpiresAt), limits)
		if err != nil {
			return err
		}
		return t.keyChanged(ctx, batch.AuditKeyCreate, k, store.KeyDetail(k))
	})
	return k, err
}

// RevokeKey revokes a key.
func (s *Store) RevokeKey(ctx context.Context, id string, check batch.KeysCheck) (k access.Key, err error) {
	err = s.write(ctx, "revoking key", func(t *tx) error {
		if err := checkKeys(ctx, t, check); err != nil {
			return err
		}
		if k, err = one(ctx, t, selectKey, store.ScanKey, id); err != nil || !k.RevokedAt.IsZero() {
			return err
		}
		if k, err = one(ctx, t, revokeKey, store.ScanKey, store.Micros(t.now), id); err != nil {
			return err
		}
		return t.keyChanged(ctx, batch.AuditKeyRevoke, k, "name "+k.Name)
	})
	return k, err
}

// keyChanged counts and audits a change of a key.
func (t *tx) keyChanged(ctx context.Context, action batch.AuditAction, k access.Key, detail string) error {
	if _, err := t.exec(ctx, countChange); err != nil {
		return err
	}
	return t.audit(ctx, action, k.ID, k.Tenant, detail)
}

// RotateKey replaces the hash of a key.
func (s *Store) RotateKey(ctx context.Context, id string, hash access.Hash, overlap time.Duration) (k access.Key, err error) {
	err = s.write(ctx, "rotating key", func(t *tx) error {
		if k, err = one(ctx, t, selectKey, store.ScanKey, id); err != nil {
			return err
		}
		if !k.Valid(k.Hash, t.now) {
			return batch.ErrConflict
		}
		if k, err = one(ctx, t, rotateKey, store.ScanKey, store.Micros(t.now.Add(overlap)), hash.String(), id); err != nil {
			return err
		}
		return t.keyChanged(ctx, batch.AuditKeyRotate, k, store.RotationDetail(k, overlap))
	})
	return k, err
}

// ChangeKeyLimits changes the limits of a key.
func (s *Store) ChangeKeyLimits(ctx context.Context, id string, change func(access.Limits) (access.Limits, error)) (k access.Key, err error) {
	err = s.write(ctx, "changing limits of key", func(t *tx) error {
		if k, err = one(ctx, t, selectKey, store.ScanKey, id); err != nil {
			return err
		}
		if !k.Valid(k.Hash, t.now) {
			return batch.ErrConflict
		}
		before := k.Limits
		wanted, err := change(before)
		if err != nil || wanted == before {
			return err
		}
		limits, err := store.EncodeLimits(wanted)
		if err != nil {
			return err
		}
		if k, err = one(ctx, t, limitKey, store.ScanKey, limits, id); err != nil {
			return err
		}
		return t.keyChanged(ctx, batch.AuditKeyLimits, k, store.LimitsDetail(k, before))
	})
	return k, err
}
