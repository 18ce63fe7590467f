package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// keyService manages the keys in the store, for the API and the dashboard. Its methods act
// for the client of the context, and return errors of the API.
type keyService struct{ app *App }

// maxOverlap limits the time for which the previous key is accepted.
const maxOverlap = 30 * 24 * time.Hour

// Keys returns the keys in the store that the client sees, the newest first.
func (s keyService) Keys(ctx context.Context) ([]access.Key, error) {
	keys, _, err := s.store().Keys(ctx)
	client := access.From(ctx)
	return slices.DeleteFunc(keys, func(k access.Key) bool { return !client.SeesKey(k) }), keyError(err)
}

// keyForm is the form of the ids of keys in the store.
var keyForm = regexp.MustCompile(`^key_[A-Za-z0-9]{1,64}$`)

// Key returns a key in the store, if the client sees it.
func (s keyService) Key(ctx context.Context, id string) (access.Key, error) {
	if !keyForm.MatchString(id) {
		return access.Key{}, keyError(batch.ErrNotFound)
	}
	k, err := s.store().Key(ctx, id)
	if err == nil && !access.From(ctx).SeesKey(k) {
		return access.Key{}, keyError(batch.ErrNotFound)
	}
	return k, keyError(err)
}

// Configured returns the keys of the configuration, without their hashes.
func (s keyService) Configured() []access.Key { return s.app.keys.Keys() }

// Tenants returns the tenants of keys and of the configuration, in order. It does no I/O.
func (s keyService) Tenants() []string {
	names := append(s.app.runtime.directory.Tenants(), access.DefaultTenant)
	for _, k := range s.Configured() {
		names = append(names, k.Tenant)
	}
	for _, t := range s.app.Tenants {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Create makes a key, and returns it with its secret.
func (s keyService) Create(ctx context.Context, n access.NewKey) (k access.Key, secret string, err error) {
	client := access.From(ctx)
	k = access.Key{ID: n.ID, Name: n.Name, Tenant: n.Tenant, Models: n.Models, Limits: n.Limits, ExpiresAt: n.ExpiresAt, CreatedBy: client.KeyID}
	switch {
	case k.ID == "":
		k.ID = openai.NewID("key_")
	case !keyForm.MatchString(k.ID):
		return access.Key{}, "", openai.InvalidRequest("id", "invalid_value", "The id is not that of a key.")
	}
	if k.Tenant == "" {
		k.Tenant = client.Tenant
	}
	if len(n.Scopes) == 0 {
		n.Scopes = []string{string(access.Live), string(access.Batch)}
	}
	if k.Scopes, err = access.ParseScopes(n.Scopes); err != nil {
		return access.Key{}, "", openai.InvalidRequest("scopes", "invalid_value", "%s.", err)
	}
	if !k.ExpiresAt.IsZero() && (!k.ExpiresAt.After(time.Now()) || k.ExpiresAt.Year() > 9999) {
		return access.Key{}, "", openai.InvalidRequest("expires_at", "invalid_value", "'expires_at' must be in the future, in seconds since 1970.")
	}
	if err := k.Check(); err != nil {
		return access.Key{}, "", openai.InvalidRequest("", "invalid_value", "%s.", err)
	}
	if err := client.Covers(k); err != nil {
		return access.Key{}, "", keyError(err)
	}
	secret = access.Generate()
	k.Hash = access.Sum(secret)
	made, err := s.store().CreateKey(ctx, k, s.app.keepAdmin(func(keys []access.Key) error { return access.CheckFirst(keys, &k) }))
	if errors.Is(err, batch.ErrConflict) { // the hash is random
		return access.Key{}, "", openai.Conflict("This key was already created, and is not shown again. Revoke it if you do not have it.")
	}
	if err != nil {
		return access.Key{}, "", keyError(err)
	}
	s.changed(ctx, "created", made)
	return made, secret, nil
}

// Revoke revokes a key.
func (s keyService) Revoke(ctx context.Context, id string) (access.Key, error) {
	if _, err := s.Key(ctx, id); err != nil {
		return access.Key{}, err
	}
	k, err := s.store().RevokeKey(ctx, id, s.app.keepAdmin(func(keys []access.Key) error { return access.CheckRevoke(keys, id) }))
	if err != nil {
		return access.Key{}, keyError(err)
	}
	s.changed(ctx, "revoked", k)
	return k, nil
}

// Rotate replaces the secret of a key, and returns the new one. The previous one is
// accepted for overlap.
func (s keyService) Rotate(ctx context.Context, id string, overlap time.Duration) (k access.Key, secret string, err error) {
	if overlap < 0 || overlap > maxOverlap {
		return access.Key{}, "", openai.InvalidRequest("overlap_seconds", "invalid_value", "'overlap_seconds' must be from 0 to %d.", int64(maxOverlap/time.Second))
	}
	if k, err = s.Key(ctx, id); err != nil {
		return access.Key{}, "", err
	}
	if err := access.From(ctx).Covers(k); err != nil { // the answer has the new secret
		return access.Key{}, "", keyError(err)
	}
	secret = access.Generate()
	if k, err = s.store().RotateKey(ctx, id, access.Sum(secret), overlap); err != nil {
		return access.Key{}, "", keyError(err)
	}
	s.changed(ctx, "rotated", k)
	return k, secret, nil
}

// ChangeLimits changes some limits of a key, and returns it. It is refused if the key would
// then have more rights than that of the client.
func (s keyService) ChangeLimits(ctx context.Context, id string, change access.LimitsChange) (access.Key, error) {
	if len(change) == 0 {
		return access.Key{}, openai.InvalidRequest("", "invalid_value", "Name at least one limit to change.")
	}
	k, err := s.Key(ctx, id)
	if err != nil {
		return access.Key{}, err
	}
	client := access.From(ctx)
	k, err = s.store().ChangeKeyLimits(ctx, id, func(before access.Limits) (access.Limits, error) {
		after := k
		after.Limits = change.Apply(before)
		if err := after.Limits.Check(); err != nil {
			return before, openai.InvalidRequest("", "invalid_value", "%s.", err)
		}
		return after.Limits, keyError(client.Covers(after))
	})
	if err != nil {
		return access.Key{}, keyError(err)
	}
	s.changed(ctx, "limits", k)
	return k, nil
}

func (s keyService) store() batch.Store { return s.app.runtime.engine.Store() }

// changed logs a change, and applies it on this gateway at once. If that fails, the
// directory applies it as soon as the store answers.
func (s keyService) changed(ctx context.Context, what string, k access.Key) {
	s.app.runtime.log.Info("key changed", zap.String("change", what), zap.String("key", k.ID), zap.String("name", k.Name), zap.String("tenant", k.Tenant), zap.String("by", access.From(ctx).KeyID))
	_ = s.app.runtime.directory.Refresh(ctx)
}

// keepAdmin returns the check of a change of keys. It is nil, and every change allowed, if
// keys can be managed without a managed key.
func (a *App) keepAdmin(check batch.KeysCheck) batch.KeysCheck {
	if a.keys.Administers(time.Now()) || a.users != nil && a.users.administrators || a.AuthOff && a.keys.Len() == 0 {
		return nil
	}
	return check
}

// keyError returns the answer for an error, nil for none.
func keyError(err error) error {
	if e, ok := errors.AsType[*openai.Error](err); ok {
		return e
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, batch.ErrNotFound):
		return openai.NotFound("", "There is no such key.")
	case errors.Is(err, batch.ErrConflict):
		return openai.Conflict("The key is revoked or has expired.")
	case errors.Is(err, batch.ErrTooManyKeys):
		return openai.Conflict("There are %d keys, which is the limit. Revoke keys that are not used.", batch.KeysKept)
	case errors.Is(err, access.ErrFirstKey):
		return &openai.Error{Status: http.StatusConflict, Type: openai.TypeInvalidRequest, Code: "first_key_not_admin", Message: "The first key needs the scope admin, without models and without expiry: from then on, clients without a key are refused, and no one else could manage keys. Make it first (tidegate keys create NAME --scopes admin), or configure a key with the scope admin.", NoRetry: true}
	case errors.Is(err, access.ErrLastAdmin):
		return &openai.Error{Status: http.StatusConflict, Type: openai.TypeInvalidRequest, Code: "last_admin_key", Message: "No other key with the scope admin would remain that does not expire, and the configuration has none. Make another one first, or configure one.", NoRetry: true}
	case errors.Is(err, access.ErrMoreRights):
		return &openai.Error{Status: http.StatusForbidden, Type: openai.TypeInvalidRequest, Code: "more_rights", Message: err.Error()}
	case errors.Is(err, batch.ErrUnavailable):
		return openai.Unavailable(startingRetry, "Keys cannot be read or changed now.").WithCause(err)
	default:
		return openai.Internal(err)
	}
}
