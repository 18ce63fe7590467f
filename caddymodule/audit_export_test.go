package caddymodule

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// stalled is a client that reads nothing until it is released.
type stalled struct {
	httptest.ResponseRecorder
	once     sync.Once
	writing  chan<- struct{} // receives at the first write
	released <-chan struct{}
}

func (s *stalled) Write(b []byte) (int, error) {
	s.once.Do(func() { s.writing <- struct{}{} })
	<-s.released
	return s.ResponseRecorder.Write(b)
}

// TestAuditExportOfSlowReaders has more exports than the store has connections, to clients that
// do not read. It finds an export that holds a connection or a transaction while it waits for
// its client, and one that is aborted because the entry where it stopped was removed meanwhile.
func TestAuditExportOfSlowReaders(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	g.run(t)
	store := g.runtime(t).engine.Store()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // only a store that hangs reaches it
	defer cancel()
	add := func(n int, outcome batch.AuditOutcome) {
		t.Helper()
		entries := make([]batch.AuditEntry, n)
		for i := range entries {
			entries[i] = batch.AuditEntry{Action: batch.AuditLogin, Outcome: outcome, Object: "/dashboard"}
		}
		if err := store.AddAudit(ctx, entries); err != nil {
			t.Fatal(err)
		}
	}
	const kept, refused, clients = 500, maxAuditPage + 200, 64
	add(kept, batch.AuditDone)
	add(refused, batch.AuditRefused)
	h := &APIHandler{door: door{app: &App{runtime: g.runtime(t)}}}
	writing, released := make(chan struct{}, clients), make(chan struct{})
	export := func(method, format string) (w *stalled) {
		w = &stalled{writing: writing, released: released, ResponseRecorder: *httptest.NewRecorder()}
		defer func() {
			if reason := recover(); reason != nil {
				t.Errorf("%s export was aborted: %v", format, reason)
			}
		}()
		r := httptest.NewRequest(method, "/v1/audit", http.NoBody)
		h.exportAudit(w, r.WithContext(ctx), batch.AuditQuery{}, format)
		return w
	}
	var exports sync.WaitGroup
	for i := range clients {
		exports.Go(func() {
			format := []string{"csv", "jsonl"}[i%2]
			if lines := bytes.Count(export("GET", format).Body.Bytes(), []byte("\n")); lines < maxAuditPage+kept || lines > refused+kept+1 {
				t.Errorf("%s export: got %d lines, want the first page and the %d entries that were not removed", format, lines, kept)
			}
		})
	}
	for range clients {
		<-writing
	}
	if page, _, err := store.AuditEntries(ctx, batch.AuditQuery{Limit: 1}); err != nil || len(page) != 1 {
		t.Errorf("reading while exports wait for their clients: got %d entries, %v", len(page), err)
	}
	if _, err := store.PruneAudit(ctx, batch.AuditRetention{Age: time.Hour, Done: kept}, 10*refused); err != nil {
		t.Errorf("writing while exports wait for their clients: %v", err)
	}
	close(released)
	exports.Wait()
	if n := export("HEAD", "csv").Body.Len(); n > len("id,time,action,outcome,target,tenant,detail,key_id,key_name,key_tenant,via,address,request_id\r\n") {
		t.Errorf("HEAD: got %d bytes, want none of the entries", n)
	}
}
