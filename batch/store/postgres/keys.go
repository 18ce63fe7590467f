package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

const (
	// keyOver is true for a key that is not valid any more at $1.
	keyOver = `(revoked_at IS NOT NULL OR expires_at <= $1)`
)

var (
	keysVersion = declare(`SELECT version FROM api_keys_version WHERE one = 1`)
	// Changes are serialized by the row of the version, so that a reader that has seen
	// a version has seen all changes up to it.
	lockVersion = declare(`SELECT version FROM api_keys_version WHERE one = 1 FOR UPDATE`)
	countChange = declare(`UPDATE api_keys_version SET version = version + 1 WHERE one = 1`)
	selectKeys  = declare(`SELECT ` + store.KeyColumns + ` FROM api_keys ORDER BY seq DESC`)
	selectKey   = declare(`SELECT ` + store.KeyColumns + ` FROM api_keys WHERE id = $1`)
	countKeys   = declare(`SELECT count(*) FROM api_keys`)
	forgetKey   = declare(`DELETE FROM api_keys WHERE seq = (SELECT seq FROM api_keys WHERE ` + keyOver + ` ORDER BY seq LIMIT 1)`)
	keyTaken    = declare(`SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = $1) OR EXISTS (SELECT 1 FROM api_keys WHERE hash = $2)`)
	insertKey   = declare(`INSERT INTO api_keys (` + store.KeyColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, '', NULL, $10) RETURNING ` + store.KeyColumns)
	revokeKey   = declare(`UPDATE api_keys SET revoked_at = coalesce(revoked_at, $1) WHERE id = $2 RETURNING ` + store.KeyColumns)
	limitKey    = declare(`UPDATE api_keys SET limits = $1 WHERE id = $2 RETURNING ` + store.KeyColumns)
	rotateKey   = declare(`UPDATE api_keys SET previous_hash = hash, previous_until = $1, hash = $2 WHERE id = $3 RETURNING ` + store.KeyColumns)
)

// KeysVersion returns the number of changes of keys.
func (s *Store) KeysVersion(ctx context.Context) (version int64, err error) {
	err = s.read(ctx, "reading version of keys", func(t *tx) error {
		version, err = one(ctx, t, store.Value[int64], keysVersion)
		return err
	})
	return version, err
}

// Keys returns all keys and their version.
func (s *Store) Keys(ctx context.Context) (keys []access.Key, version int64, err error) {
	err = s.read(ctx, "reading keys", func(t *tx) error {
		if version, err = one(ctx, t, store.Value[int64], keysVersion); err != nil {
			return err
		}
		keys, err = all(ctx, t, store.ScanKey, selectKeys)
		return err
	})
	return keys, version, err
}

// Key returns a key.
func (s *Store) Key(ctx context.Context, id string) (k access.Key, err error) {
	err = s.read(ctx, "reading key", func(t *tx) error {
		k, err = one(ctx, t, store.ScanKey, selectKey, id)
		return err
	})
	return k, err
}

// changeKeys runs a transaction that changes keys, alone.
func (s *Store) changeKeys(ctx context.Context, doing string, f func(*tx) error) error {
	return s.write(ctx, doing, func(t *tx) error {
		if _, err := one(ctx, t, store.Value[int64], lockVersion); err != nil {
			return err
		}
		t.later(countChange)
		return f(t)
	})
}

// checkKeys calls check with all keys.
func checkKeys(ctx context.Context, t *tx, check batch.KeysCheck) error {
	if check == nil {
		return nil
	}
	keys, err := all(ctx, t, store.ScanKey, selectKeys)
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
	err = s.changeKeys(ctx, "creating key", func(t *tx) error {
		taken, err := one(ctx, t, store.Value[bool], keyTaken, n.ID, n.Hash.String())
		switch {
		case err != nil:
			return err
		case taken:
			return batch.ErrConflict
		}
		if err := checkKeys(ctx, t, check); err != nil {
			return err
		}
		count, err := one(ctx, t, store.ScanCount, countKeys)
		if err != nil {
			return err
		}
		if count >= batch.KeysKept {
			forgotten, err := t.exec(ctx, forgetKey, t.micros())
			if err != nil {
				return err
			}
			if forgotten == 0 {
				return batch.ErrTooManyKeys
			}
		}
		k, err = one(ctx, t, store.ScanKey, insertKey, n.ID, n.Name, n.Tenant, n.Hash.String(), store.Scopes(n.Scopes), models,
			t.micros(), n.CreatedBy, store.TimeOrNull(n.ExpiresAt), limits)
		t.audit(ctx, batch.AuditKeyCreate, k.ID, k.Tenant, store.KeyDetail(k))
		return err
	})
	if broken(err) { // it is unknown whether the transaction was committed
		if made, reading := s.Key(ctx, n.ID); reading == nil {
			return made, nil
		}
	}
	return k, err
}

// RevokeKey revokes a key.
func (s *Store) RevokeKey(ctx context.Context, id string, check batch.KeysCheck) (k access.Key, err error) {
	err = s.changeKeys(ctx, "revoking key", func(t *tx) error {
		if err := checkKeys(ctx, t, check); err != nil {
			return err
		}
		if k, err = one(ctx, t, store.ScanKey, selectKey, id); err != nil || !k.RevokedAt.IsZero() {
			return err
		}
		k, err = one(ctx, t, store.ScanKey, revokeKey, t.micros(), id)
		t.audit(ctx, batch.AuditKeyRevoke, k.ID, k.Tenant, "name "+k.Name)
		return err
	})
	return k, err
}

// RotateKey replaces the hash of a key.
func (s *Store) RotateKey(ctx context.Context, id string, hash access.Hash, overlap time.Duration) (k access.Key, err error) {
	err = s.changeKeys(ctx, "rotating key", func(t *tx) error {
		if k, err = one(ctx, t, store.ScanKey, selectKey, id); err != nil {
			return err
		}
		if !k.Valid(k.Hash, t.now) {
			return batch.ErrConflict
		}
		k, err = one(ctx, t, store.ScanKey, rotateKey, store.Micros(t.now.Add(overlap)), hash.String(), id)
		t.audit(ctx, batch.AuditKeyRotate, k.ID, k.Tenant, store.RotationDetail(k, overlap))
		return err
	})
	if broken(err) {
		if rotated, reading := s.Key(ctx, id); reading == nil && rotated.Hash == hash {
			return rotated, nil
		}
	}
	return k, err
}

// ChangeKeyLimits changes the limits of a key.
func (s *Store) ChangeKeyLimits(ctx context.Context, id string, change func(access.Limits) (access.Limits, error)) (k access.Key, err error) {
	var wanted *access.Limits // that the last attempt wrote
	err = s.changeKeys(ctx, "changing limits of key", func(t *tx) error {
		wanted = nil
		if k, err = one(ctx, t, store.ScanKey, selectKey, id); err != nil {
			return err
		}
		if !k.Valid(k.Hash, t.now) {
			return batch.ErrConflict
		}
		before := k.Limits
		changed, err := change(before)
		if err != nil || changed == before {
			return err
		}
		limits, err := store.EncodeLimits(changed)
		if err != nil {
			return err
		}
		if k, err = one(ctx, t, store.ScanKey, limitKey, limits, id); err != nil {
			return err
		}
		wanted = &changed
		t.audit(ctx, batch.AuditKeyLimits, k.ID, k.Tenant, store.LimitsDetail(k, before))
		return nil
	})
	if broken(err) && wanted != nil { // it is unknown whether the transaction was committed
		if changed, reading := s.Key(ctx, id); reading == nil && changed.Limits == *wanted {
			return changed, nil
		}
	}
	return k, err
}
