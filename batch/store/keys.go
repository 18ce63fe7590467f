package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/access"
)

// KeyColumns are the columns of a key, in the order in which ScanKey scans them.
const KeyColumns = `id, name, tenant, hash, scopes, models, created_at, created_by, expires_at, revoked_at, previous_hash, previous_until, limits`

// ScanKey scans KeyColumns.
func ScanKey(r Row) (k access.Key, err error) {
	var (
		hash, scopes, previous string
		models, limits         []byte
	)
	if err := r.Scan(&k.ID, &k.Name, &k.Tenant, &hash, &scopes, &models, timeIn{&k.CreatedAt}, &k.CreatedBy,
		timeIn{&k.ExpiresAt}, timeIn{&k.RevokedAt}, &previous, timeIn{&k.PreviousUntil}, &limits); err != nil {
		return k, err
	}
	if k.Hash, err = access.ParseHash(hash); err != nil {
		return k, fmt.Errorf("reading hash of key %s: %w", k.ID, err)
	}
	if previous != "" {
		if k.PreviousHash, err = access.ParseHash(previous); err != nil {
			return k, fmt.Errorf("reading previous hash of key %s: %w", k.ID, err)
		}
	}
	for s := range strings.FieldsSeq(scopes) {
		k.Scopes = append(k.Scopes, access.Scope(s))
	}
	if limits != nil {
		if err := json.Unmarshal(limits, &k.Limits); err != nil {
			return k, fmt.Errorf("reading limits of key %s: %w", k.ID, err)
		}
	}
	k.Models, err = DecodeModels(models)
	return k, err
}

// EncodeLimits returns the limits of a key as they are stored, NULL for none.
func EncodeLimits(limits access.Limits) (*string, error) {
	if limits == (access.Limits{}) {
		return nil, nil
	}
	text, err := json.Marshal(limits)
	if err != nil {
		return nil, fmt.Errorf("writing limits: %w", err)
	}
	return new(string(text)), nil
}

// Scopes returns the scopes of a key in the stored format.
func Scopes(scopes []access.Scope) string { return access.Join(scopes, " ") }

// EncodeModels returns the models that a key may use as they are stored, NULL for every
// model.
func EncodeModels(models []string) (*string, error) {
	if len(models) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(models)
	if err != nil {
		return nil, fmt.Errorf("writing models: %w", err)
	}
	return new(string(text)), nil
}

// DecodeModels returns what EncodeModels was given.
func DecodeModels(text []byte) (models []string, err error) {
	if text == nil {
		return nil, nil
	}
	if err := json.Unmarshal(text, &models); err != nil {
		return nil, fmt.Errorf("reading models: %w", err)
	}
	return models, nil
}
