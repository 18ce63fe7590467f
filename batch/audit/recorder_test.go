package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

// fakeStore has entries in memory.
type fakeStore struct {
	mu      sync.Mutex
	away    error
	calls   int
	entries []string // as action, object, detail and age
}

func (s *fakeStore) AddAudit(_ context.Context, entries []batch.AuditEntry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.away != nil {
		return s.away
	}
	for _, e := range entries {
		text := strings.TrimSpace(string(e.Action) + " " + e.Object + " " + e.Detail)
		if e.Age > 0 {
			text += " " + e.Age.String()
		}
		s.entries = append(s.entries, text)
	}
	return nil
}

func (s *fakeStore) set(away error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *fakeStore) check(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if fmt.Sprint(s.entries) != fmt.Sprint(want) {
		t.Errorf("got entries %q, want %q", s.entries, want)
	}
	s.entries = nil
}

func entry(action batch.AuditAction, object, address string) batch.AuditEntry {
	return batch.AuditEntry{Action: action, Object: object, Origin: access.Origin{Address: address}}
}

// Actions are possible without the store, and recorded with their age when it is back.
func TestRecorderWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{away: errors.New("connection refused")}
		core, logs := observer.New(zap.ErrorLevel)
		r := NewRecorder(s, zap.New(core), nil)
		for i := range maxPending + 1 {
			r.Record(t.Context(), entry(batch.AuditServerDrain, fmt.Sprint(i), ""))
		}
		if s.calls != 1 {
			t.Errorf("got %d attempts to write, want 1: actions must not wait for a store that is away", s.calls)
		}
		if logs.Len() != 1 || logs.All()[0].ContextMap()["object"] != fmt.Sprint(maxPending) {
			t.Errorf("got log %+v, want the entry that was lost", logs.All())
		}
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { r.Run(ctx) })
		time.Sleep(time.Minute - retryInterval/2) // between two attempts
		s.set(nil)
		time.Sleep(2 * retryInterval)
		s.mu.Lock()
		n, first := len(s.entries), s.entries[0]
		s.entries = nil
		s.mu.Unlock()
		if n != maxPending || first != "server.drain 0 1m0s" {
			t.Errorf("got %d entries, the first %q, want %d with the age of a minute", n, first, maxPending)
		}
		r.Record(t.Context(), entry(batch.AuditServerUndrain, "u", ""))
		s.check(t, "server.undrain u")
		s.set(errors.New("away"))
		r.Record(t.Context(), entry(batch.AuditServerDrain, "last", ""))
		s.set(nil)
		cancel()
		run.Wait()
		s.check(t, "server.drain last")
	})
}

// What cannot be written before the end is in the program's log.
func TestRecorderStopsWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{away: errors.New("connection refused")}
		core, logs := observer.New(zap.ErrorLevel)
		r := NewRecorder(s, zap.New(core), nil)
		for _, object := range []string{"a", "b"} {
			r.Record(t.Context(), entry(batch.AuditServerDrain, object, ""))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r.Run(ctx)
		var got []string
		for _, l := range logs.All() {
			got = append(got, fmt.Sprint(l.ContextMap()["action"], " ", l.ContextMap()["object"]))
		}
		if want := []string{"server.drain a", "server.drain b"}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got log %q, want %q", got, want)
		}
	})
}

func TestLoginsAreRecordedOnceInATime(t *testing.T) {
	now := time.Unix(0, 0)
	s := &fakeStore{}
	r := NewRecorder(s, zap.NewNop(), func() time.Time { return now })
	login := func(address string) { r.Login(t.Context(), entry(batch.AuditLogin, "", address)) }
	for range 3 {
		login("10.0.0.1")
		login("10.0.0.2")
	}
	s.check(t, "dashboard.login", "dashboard.login")
	now = now.Add(loginWindow)
	login("10.0.0.1")
	s.check(t, "dashboard.login")
	for i := range 2 * maxLogins {
		login(fmt.Sprint(i))
	}
	if len(r.logins) > maxLogins {
		t.Errorf("%d clients are remembered, want at most %d", len(r.logins), maxLogins)
	}
}

// A flood of refused requests has a bounded number of entries, and its size is known.
func TestRefusalsAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	s := &fakeStore{}
	r := NewRecorder(s, zap.NewNop(), func() time.Time { return now })
	for i := range 1000 {
		for range 2 {
			r.Refuse(t.Context(), entry(batch.AuditAdminRequest, "/v1/keys", fmt.Sprint(i)))
		}
	}
	if len(s.entries) != maxRefused {
		t.Errorf("got %d entries, want %d", len(s.entries), maxRefused)
	}
	s.entries = nil
	now = now.Add(refusedWindow)
	r.Refuse(t.Context(), entry(batch.AuditAdminRequest, "/v1/keys", "0"))
	s.check(t, "admin.request  1940 more requests were refused before", "admin.request /v1/keys")
}

// refusal is the entry of a refused request.
func refusal(object string) batch.AuditEntry {
	e := entry(batch.AuditAdminRequest, object, "")
	e.Outcome = batch.AuditRefused
	return e
}

// A flood of refusals takes no place of entries of actions while the store is away, and is
// written after them. What is lost is counted and logged.
func TestRefusalsDoNotDisplaceActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeStore{away: errors.New("connection refused")}
		core, logs := observer.New(zap.ErrorLevel)
		r := NewRecorder(s, zap.New(core), nil)
		for i := range maxPendingRefused + 7 {
			r.Record(t.Context(), refusal(fmt.Sprint(i)))
		}
		for i := range maxPending + 3 {
			r.Record(t.Context(), entry(batch.AuditServerDrain, fmt.Sprint(i), ""))
		}
		const want = `# HELP tidegate_audit_entries_lost_total Entries of the audit log that were lost because too many waited for the store, or the gateway stopped without it, by outcome.
# TYPE tidegate_audit_entries_lost_total counter
tidegate_audit_entries_lost_total{outcome="done"} 3
tidegate_audit_entries_lost_total{outcome="refused"} 7
`
		if err := testutil.CollectAndCompare(r, strings.NewReader(want)); err != nil || logs.Len() != 10 {
			t.Errorf("got %d lost entries in the log, want 10; %v", logs.Len(), err)
		}
		s.set(nil)
		r.flush(t.Context())
		if len(s.entries) != maxPending+maxPendingRefused || !strings.HasPrefix(s.entries[0], "server.drain 0") || !strings.HasPrefix(s.entries[maxPending], "admin.request 0") {
			t.Errorf("got %d entries written, want %d actions and then %d refusals", len(s.entries), maxPending, maxPendingRefused)
		}
	})
}
