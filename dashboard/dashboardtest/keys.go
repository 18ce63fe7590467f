package dashboardtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// keyService manages the keys of the gateway. Its secrets are not random.
type keyService struct{ *Fake }

// Secret returns the secret of the n-th key that was made or replaced, from 1.
func Secret(n int) string { return fmt.Sprintf("tg-secret-%d", n) }

// fillKeys makes keys in every state. mu is held.
func (f *Fake) fillKeys() {
	now := f.Clock()
	key := func(name string, change func(*access.Key)) {
		k := access.Key{
			ID: fmt.Sprintf("key_%032x", len(f.keys)+1), Name: f.Say(name), Tenant: f.Say("default"),
			Scopes: []access.Scope{access.Live, access.Batch}, CreatedAt: now.Add(-time.Duration(len(f.keys)) * time.Hour), CreatedBy: f.Say("static/ops"),
		}
		change(&k)
		f.keys = append(f.keys, k)
	}
	key("nightly", func(k *access.Key) {
		k.Models = []string{f.Say("Qwen/Qwen3-32B"), f.Say("meta-llama/Llama-3.1-8B-Instruct")}
		k.Limits = access.Limits{RequestsPerMinute: 600, LinesQueued: 2_000_000}
		k.ExpiresAt = now.Add(30 * 24 * time.Hour)
	})
	key("platform", func(k *access.Key) {
		k.Scopes, k.PreviousUntil = []access.Scope{access.Admin}, now.Add(time.Hour)
	})
	key("trial", func(k *access.Key) { k.ExpiresAt = now.Add(-time.Hour) })
	key("lost laptop", func(k *access.Key) { k.RevokedAt = now.Add(-time.Minute) })
	for i := range 27 {
		key(fmt.Sprintf("service %d", i), func(k *access.Key) { k.Tenant = f.Say(fmt.Sprintf("team-%d", i%3)) })
	}
}

func (s keyService) Keys(context.Context) ([]access.Key, error) {
	unlock, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if s.size == 0 {
		return nil, nil
	}
	return slices.Clone(s.keys), nil
}

func (s keyService) Key(_ context.Context, id string) (access.Key, error) {
	unlock, err := s.begin()
	if err != nil {
		return access.Key{}, err
	}
	defer unlock()
	k, err := s.find(id)
	if err != nil {
		return access.Key{}, err
	}
	return *k, nil
}

// find returns a key. mu is held.
func (s keyService) find(id string) (*access.Key, error) {
	for i := range s.keys {
		if s.keys[i].ID == id {
			return &s.keys[i], nil
		}
	}
	return nil, fmt.Errorf("finding key: %w", batch.ErrNotFound)
}

func (s keyService) Configured() []access.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		return nil
	}
	return []access.Key{{ID: s.Say("static/ops"), Name: s.Say("ops"), Tenant: s.Say("default"), Scopes: []access.Scope{access.Admin}}}
}

func (s keyService) Tenants() []string {
	return []string{"default", "team-0", "team-1"}
}

func (s keyService) Create(ctx context.Context, n access.NewKey) (access.Key, string, error) {
	k := access.Key{ID: n.ID, Name: n.Name, Tenant: n.Tenant, Models: n.Models, Limits: n.Limits, ExpiresAt: n.ExpiresAt, CreatedAt: s.Clock(), CreatedBy: access.From(ctx).KeyID}
	var err error
	if k.Scopes, err = access.ParseScopes(n.Scopes); err != nil {
		return access.Key{}, "", openai.InvalidRequest("scopes", "invalid_value", "%s.", err)
	}
	if err := k.Check(); err != nil {
		return access.Key{}, "", openai.InvalidRequest("", "invalid_value", "%s.", err)
	}
	unlock, err := s.begin("create key " + n.Name)
	if err != nil {
		return access.Key{}, "", err
	}
	defer unlock()
	if _, err := s.find(k.ID); err == nil {
		return access.Key{}, "", openai.Conflict("This key was already created, and is not shown again.")
	}
	s.keys = append([]access.Key{k}, s.keys...)
	s.secrets++
	return k, Secret(s.secrets), nil
}

func (s keyService) Rotate(_ context.Context, id string, overlap time.Duration) (access.Key, string, error) {
	unlock, err := s.begin("rotate key " + id + " " + overlap.String())
	if err != nil {
		return access.Key{}, "", err
	}
	defer unlock()
	k, err := s.find(id)
	if err != nil {
		return access.Key{}, "", err
	}
	if !k.RevokedAt.IsZero() {
		return access.Key{}, "", batch.ErrConflict
	}
	k.PreviousUntil = s.Clock().Add(overlap)
	s.secrets++
	return *k, Secret(s.secrets), nil
}

func (s keyService) ChangeLimits(_ context.Context, id string, change access.LimitsChange) (access.Key, error) {
	done := []string{"limits of key " + id}
	for _, name := range slices.Sorted(maps.Keys(change)) {
		done = append(done, fmt.Sprintf("%s %d", name, change[name]))
	}
	unlock, err := s.begin(strings.Join(done, " "))
	if err != nil {
		return access.Key{}, err
	}
	defer unlock()
	k, err := s.find(id)
	if err != nil {
		return access.Key{}, err
	}
	if !k.RevokedAt.IsZero() {
		return access.Key{}, openai.Conflict("The key is revoked or has expired.")
	}
	k.Limits = change.Apply(k.Limits)
	return *k, nil
}

func (s keyService) Revoke(_ context.Context, id string) (access.Key, error) {
	unlock, err := s.begin("revoke key " + id)
	if err != nil {
		return access.Key{}, err
	}
	defer unlock()
	k, err := s.find(id)
	if err != nil {
		return access.Key{}, err
	}
	k.RevokedAt = s.Clock()
	return *k, nil
}
