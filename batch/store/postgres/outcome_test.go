package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// claimAll claims the first slices of a batch.
func claimAll(tb testing.TB, s *Store, b batch.Batch, slices int) []batch.SliceClaim {
	tb.Helper()
	var refs []batch.SliceRef
	for i := range slices {
		refs = append(refs, batch.SliceRef{BatchID: b.ID, Number: i})
	}
	claimed, err := s.ClaimSlices(tb.Context(), batch.Claimant{Owner: "worker", Lease: time.Hour}, refs)
	if err != nil || len(claimed) != slices {
		tb.Fatalf("claimed %d of %d slices: %v", len(claimed), slices, err)
	}
	claims := make([]batch.SliceClaim, slices)
	for i, c := range claimed {
		claims[i] = c.SliceClaim
	}
	return claims
}

// writeOf is a write of lines.
func writeOf(c batch.SliceClaim, indices ...int) batch.SegmentWrite {
	w := batch.SegmentWrite{Claim: c}
	for _, i := range indices {
		w.Lines = append(w.Lines, result(c.Number, i))
	}
	return w
}

// TestUnknownOutcome loses the responses to successful commits and repeats the
// commits: every line must count once.
func TestUnknownOutcome(t *testing.T) {
	const slices = 3
	p, through := behindProxy(t, server.NewDatabase(t))
	s := opened(t, through)
	b := running(t, s, slices)
	for i, c := range claimAll(t, s, b, slices) {
		var group []batch.SegmentWrite
		for l := range 64 {
			group = append(group, writeOf(c, l))
		}
		p.cut.Store(true)
		if _, err := s.CommitResults(t.Context(), group); !errors.Is(err, batch.ErrUnavailable) || !errors.Is(err, batch.ErrUnknown) {
			t.Fatalf("error is %v, want %v and %v", err, batch.ErrUnavailable, batch.ErrUnknown)
		}
		if got := p.cuts.Load(); int(got) != i+1 {
			t.Fatalf("%d connections were cut, want %d", got, i+1)
		}
		stale, err := s.CommitResults(t.Context(), group)
		if err != nil || len(stale) > 0 {
			t.Fatalf("repeated: %v, %d stale claims", err, len(stale))
		}
	}
	check(t, s, b, slices)
	usage, err := s.Usage(t.Context(), tenant, time.Time{})
	if err != nil || len(usage) != 1 || usage[0].Requests != 64*slices {
		t.Errorf("usage is %+v, %v", usage, err)
	}
}

// TestUnknownCreation loses the response to a creation: the error must not be
// temporary, because a retry would create another batch.
func TestUnknownCreation(t *testing.T) {
	p, through := behindProxy(t, server.NewDatabase(t))
	s := opened(t, through)
	n := batch.NewBatch{ID: "batch_1", Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: "x", CompletionWindow: "24h", Window: time.Hour}
	p.cut.Store(true)
	b, created, err := s.CreateBatch(t.Context(), n)
	if err != nil || !created || b.ID != n.ID || b.Status != batch.Validating {
		t.Errorf("created %t: %+v, %v", created, b, err)
	}
	if p.cuts.Load() != 1 {
		t.Fatal("no answer was lost")
	}
}

// TestRolledBack checks that a commit that the server turns into a rollback is an
// error.
func TestRolledBack(t *testing.T) {
	s := opened(t, server.NewDatabase(t))
	err := s.write(t.Context(), "failing", func(w *tx) error {
		_, err := w.exec(t.Context(), `SELECT 1/0`)
		if err == nil {
			t.Error("it did not fail")
		}
		return nil // the error is ignored
	})
	if err == nil {
		t.Error("it was committed")
	}
	f := batch.NewFile{ID: "file-1", Tenant: tenant, Key: "1"}
	err = s.write(t.Context(), "failing later", func(w *tx) error {
		if _, err := w.createFile(t.Context(), f); err != nil {
			return err
		}
		w.later(`SELECT 1/0`)
		return nil
	})
	if code(err) != "22012" {
		t.Errorf("error is %v, want that of the statement", err)
	}
	if _, err := s.File(t.Context(), tenant, f.ID); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("file: got %v, want it not to exist", err)
	}
}

// TestContextEndsWithin ends a context while a statement of a transaction waits: the
// transaction must have no effect, and the connection is reused.
func TestContextEndsWithin(t *testing.T) {
	s := opened(t, server.NewDatabase(t))
	ctx, cancel := context.WithCancel(t.Context())
	backend := func(ctx context.Context, w *tx) (pid int, err error) {
		return one(ctx, w, store.Value[int], `SELECT pg_backend_pid()`)
	}
	var before, after int
	err := s.write(ctx, "waiting", func(w *tx) (err error) {
		if before, err = backend(ctx, w); err != nil {
			return err
		}
		if _, err := w.createFile(ctx, batch.NewFile{ID: "file-1", Tenant: tenant, Key: "1"}); err != nil {
			return err
		}
		cancel()
		_, err = w.exec(ctx, `SELECT pg_sleep(30)`)
		return err
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = s.write(ctx, "waiting", func(w *tx) error {
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := w.exec(ctx, `SELECT pg_sleep(30)`)
		return err
	})
	if !errors.Is(err, context.Canceled) || errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	err = s.read(t.Context(), "looking", func(r *tx) (err error) {
		after, err = backend(t.Context(), r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("the connection was thrown away")
	}
	if _, err := s.File(t.Context(), tenant, "file-1"); !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("file: got %v, want it not to exist", err)
	}
}

// TestTooSlow checks that a slow statement, and a server that stops responding, end
// with a temporary error.
func TestTooSlow(t *testing.T) {
	p, through := behindProxy(t, server.NewDatabase(t))
	s := openedWith(t, Config{URL: through, StatementTimeout: 500 * time.Millisecond})
	err := s.write(t.Context(), "sleeping", func(w *tx) error {
		_, err := w.exec(t.Context(), `SELECT pg_sleep(30)`)
		return err
	})
	if !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, batch.ErrUnavailable)
	}
	contains(t, err, "sleeping", "statement timeout")
	p.mute.Store(true)
	began := time.Now()
	if err := s.Ping(t.Context()); !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("error is %v, want %v", err, batch.ErrUnavailable)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	p.mute.Store(false)
	until(t, "it works again", func() bool { return s.Ping(t.Context()) == nil })
}

// TestListenerThatHearsNothing checks that a listener without notifications pings the
// server, and reconnects if there is no response.
func TestListenerThatHearsNothing(t *testing.T) {
	p, through := behindProxy(t, server.NewDatabase(t))
	core, said := observer.New(zap.WarnLevel)
	s, err := New(Config{URL: through, Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	s.silence = 20 * time.Millisecond
	s.cfg.ConnConfig.ConnectTimeout = time.Second
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	until(t, "it listens", func() bool { return woken(s) })
	before := p.trips.Load()
	until(t, "it asks", func() bool { return p.trips.Load() > before+3 })
	if woken(s) {
		t.Error("it lost its connection")
	}
	p.mute.Store(true)
	until(t, "it gives up the connection", func() bool { return said.FilterMessage("listening for other gateways").Len() > 0 })
	p.mute.Store(false)
	until(t, "it listens again", func() bool { return woken(s) })
}
