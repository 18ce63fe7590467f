package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// DefaultTenant owns everything that clients without a configured tenant make.
const DefaultTenant = "default"

// Identity is the client of a request. The zero value has no rights.
type Identity struct {
	KeyID  string // "" for a client without a key
	Name   string // of the key; "" for a client without a key
	Tenant string // owns what the client makes
	Scopes []Scope
	Models []string  // that it may use; empty: every model
	Until  time.Time // when the key expires; zero: never
	Limits Limits    // of the key
}

// Everyone returns the identity of clients of a gateway that requires no key. They may
// do everything.
func Everyone() Identity {
	return Identity{Tenant: DefaultTenant, Scopes: []Scope{Admin}}
}

// May reports whether the client has a scope, or one that includes it.
func (id Identity) May(s Scope) bool {
	return slices.ContainsFunc(id.Scopes, func(own Scope) bool { return own.includes(s) })
}

// MayUse reports whether the client may use a model.
func (id Identity) MayUse(model string) bool {
	return len(id.Models) == 0 || slices.Contains(id.Models, model)
}

// Owns reports whether the client made an object that a key made. Clients without keys
// are one client.
func (id Identity) Owns(keyID string) bool { return id.KeyID == keyID }

// Equal reports whether two identities are of the same key.
func (id Identity) Equal(other Identity) bool {
	return id.KeyID == other.KeyID && id.Tenant == other.Tenant
}

// ErrMoreRights reports that a key would have more rights than the client that makes or
// changes it.
var ErrMoreRights = errors.New("a key cannot have more rights than the key that makes or changes it")

// Covers returns an error if a key has a right that the client does not have.
func (id Identity) Covers(k Key) error {
	for _, s := range k.Scopes {
		if !id.May(s) {
			return fmt.Errorf("%w: yours does not have the scope %s", ErrMoreRights, s)
		}
	}
	if k.Tenant != id.Tenant && !id.May(Admin) {
		return fmt.Errorf("%w: yours is of the tenant %s", ErrMoreRights, id.Tenant)
	}
	if len(id.Models) > 0 {
		if len(k.Models) == 0 {
			return fmt.Errorf("%w: yours is limited to some models, so that the new one must name its models", ErrMoreRights)
		}
		for _, model := range k.Models {
			if !id.MayUse(model) {
				return fmt.Errorf("%w: yours may not use the model %q", ErrMoreRights, model)
			}
		}
	}
	if !id.Until.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(id.Until)) {
		return fmt.Errorf("%w: yours expires at %s, and the new one later", ErrMoreRights, id.Until.UTC().Format(time.RFC3339))
	}
	for i, limit := range k.Limits.Fields() {
		if own := id.Limits.Fields()[i]; *own.Value > 0 && (*limit.Value == 0 || *limit.Value > *own.Value) {
			return fmt.Errorf("%w: yours has the limit %s %s, so that the new one needs one that is not larger", ErrMoreRights, own.Name, own)
		}
	}
	return nil
}

type contextKey struct{}

// With returns a context with the client of a request.
func With(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// From returns the client of a request; without one, an identity without rights.
func From(ctx context.Context) Identity {
	id, _ := ctx.Value(contextKey{}).(Identity)
	return id
}
