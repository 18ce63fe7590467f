package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

func init() { caddy.RegisterModule(lateStore{}) }

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
