package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

func init() {
	caddy.RegisterModule(lateStore{})
	caddy.RegisterModule(farStore{})
}

// lateThere reports whether the server of a lateStore is there.
var lateThere atomic.Bool

// lateStore is an embedded store that plays one behind a network.
type lateStore struct{ SQLiteStore }

func (lateStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.stores.late", New: func() caddy.Module { return new(lateStore) }}
}

func (s *lateStore) Store(dataDir string, log *zap.Logger) (batch.Store, error) {
	store, err := s.SQLiteStore.Store(dataDir, log)
	return &lateOpening{store}, err
}

type lateOpening struct{ batch.Store }

func (s *lateOpening) Open(ctx context.Context) error {
	if !lateThere.Load() {
		return fmt.Errorf("connecting: %w", batch.ErrUnavailable)
	}
	return s.Store.Open(ctx)
}

// TestStoreComesLater checks that live requests are served while the store is unavailable at
// the start, and that the store is opened when it is available.
func TestStoreComesLater(t *testing.T) {
	lateThere.Store(false)
	_, one := newSim(t)
	g := newGateway(t, one)
	g.app.StoreRaw = []byte(`{"driver": "late"}`)
	g.run(t)
	for range 3 {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat); a.status != 200 {
			t.Fatalf("live: %d %s", a.status, a.body)
		}
		a := g.ask(t, "GET", "/v1/batches", "")
		a.wantError(t, 503, "server_error")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		g.app.Batch.MaxInFlight++ // it can be reloaded meanwhile
		g.load(t)
	}
	if status, s := g.health(t); status != 200 || s.Status != "degraded" || !strings.Contains(s.Batch.Store, "connecting") {
		t.Errorf("%d %+v", status, s)
	}
	if a := g.ask(t, "GET", "/ready", ""); a.status != 200 {
		t.Errorf("not ready for live requests: %s", a.body)
	}
	lateThere.Store(true)
	until(t, "batches are served", func() bool { return g.ask(t, "GET", "/v1/batches", "").status == 200 })
	g.upload(t)
	if status, s := g.health(t); status != 200 || s.Status != "ok" {
		t.Errorf("%d %+v", status, s)
	}
}

// A gateway that still waits for its store can be stopped.
func TestStopWhileWaiting(t *testing.T) {
	lateThere.Store(false)
	_, one := newSim(t)
	g := newGateway(t, one)
	g.app.StoreRaw = []byte(`{"driver": "late"}`)
	g.run(t)
}

// farStore is a lateStore that other gateways share.
type farStore struct{ lateStore }

func (farStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.stores.far", New: func() caddy.Module { return new(farStore) }}
}

func (*farStore) Shared() bool { return true }

// A gateway whose shared store is unavailable at the start admits no client without a key
// until it knows whether there are managed keys, unless it has saved some or `auth off`.
func TestKeysAreNotKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		keys, off bool
		before    int // status of a request without a key
		after     int
	}{
		"no managed key": {false, false, 503, 200},
		"a managed key":  {true, false, 503, 401},
		"auth off":       {true, true, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			lateThere.Store(true)
			_, one := newSim(t)
			g := newGateway(t, one)
			g.app.StoreRaw, g.app.AuthOff = []byte(`{"driver": "far"}`), tt.off
			if tt.keys {
				store, err := (&SQLiteStore{}).Store(g.app.Data, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				if err := store.Open(t.Context()); err != nil {
					t.Fatal(err)
				}
				key := access.Key{ID: "key_1", Name: "ops", Tenant: access.DefaultTenant, Hash: access.Sum("tg-1"), Scopes: []access.Scope{access.Admin}}
				if _, err := store.CreateKey(t.Context(), key, nil); err != nil {
					t.Fatal(err)
				}
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
			}
			lateThere.Store(false)
			g.run(t)
			live := func() answer { return g.ask(t, "POST", "/v1/chat/completions", chat) }
			for range 3 {
				if a := live(); a.status != tt.before || tt.before == 503 && (!strings.Contains(a.body, "not known yet") || a.header.Get("Retry-After") == "") {
					t.Errorf("before the store answers: got %d %s, want %d", a.status, a.body, tt.before)
				}
				if a := g.ask(t, "GET", "/ready", ""); a.status != tt.before {
					t.Errorf("/ready is %d, want %d", a.status, tt.before)
				}
			}
			if status, s := g.health(t); status != 200 || s.Status != "degraded" || (s.Batch != nil) != tt.off {
				t.Errorf("health is %d %+v, want degraded, with details only for clients who are admitted", status, s)
			}
			lateThere.Store(true)
			until(t, "the keys are known", func() bool { return live().status == tt.after })
			if a := g.ask(t, "GET", "/ready", ""); a.status != 200 {
				t.Errorf("/ready is %d at the end, want 200", a.status)
			}
		})
	}
}
