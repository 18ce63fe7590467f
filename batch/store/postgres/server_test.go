package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/pgtest"
)

const tenant = "acme"

// patience limits the time for which a test waits for an expected event.
const patience = 30 * time.Second

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timeout waiting for: %s", what)
		}
	}
}

// running creates a batch with the number of slices, 64 lines each.
func running(tb testing.TB, s *Store, slices int) batch.Batch {
	tb.Helper()
	ctx := tb.Context()
	id := openai.NewID("")
	if _, err := s.CreateFile(ctx, batch.NewFile{ID: "file-" + id, Key: id, Tenant: tenant, Filename: "in", Purpose: openai.PurposeBatch}); err != nil {
		tb.Fatal(err)
	}
	b, _, err := s.CreateBatch(ctx, batch.NewBatch{ID: "batch_" + id, Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: "file-" + id, CompletionWindow: "24h", Window: 24 * time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	p := batch.Plan{Model: "m"}
	for i := range slices {
		p.Slices = append(p.Slices, batch.SlicePlan{Offset: int64(i), Length: 1, FirstLine: p.Lines, Lines: 64})
		p.Lines += 64
	}
	c, err := s.ClaimBatch(ctx, "batch worker", time.Hour, batch.Validate)
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.StartBatch(ctx, c, p); err != nil {
		tb.Fatal(err)
	}
	return b
}

func result(number, index int) batch.LineResult {
	return batch.LineResult{Index: index, Record: fmt.Appendf(nil, `{"slice":%d,"line":%d}`, number, index), Model: "m", Usage: openai.Usage{TotalTokens: 1}}
}

// finish claims and commits slices until the batch has ended, and retries after errors.
func finish(t *testing.T, s *Store, owner string, b batch.Batch, slices int) {
	ctx := t.Context()
	for {
		now, err := s.Batch(ctx, tenant, b.ID)
		if err == nil && now.Status == batch.Finalizing {
			return
		}
		var refs []batch.SliceRef
		for range 4 {
			refs = append(refs, batch.SliceRef{BatchID: b.ID, Number: rand.IntN(slices)})
		}
		claimed, err := s.ClaimSlices(ctx, batch.Claimant{Owner: owner, Lease: 500 * time.Millisecond}, refs)
		if err != nil && !errors.Is(err, batch.ErrUnavailable) {
			t.Error(err)
			return
		}
		var group []batch.SegmentWrite
		for _, c := range claimed {
			w := batch.SegmentWrite{Claim: c.SliceClaim}
			for i := range c.Lines {
				if rand.IntN(3) > 0 {
					w.Lines = append(w.Lines, result(c.Number, i))
				}
			}
			group = append(group, w)
		}
		for len(group) > 0 {
			_, err := s.CommitResults(ctx, group)
			if err == nil {
				break
			}
			if !errors.Is(err, batch.ErrUnavailable) {
				t.Error(err)
				return
			}
		}
		var claims []batch.SliceClaim
		var released []batch.Release
		for _, c := range claimed {
			claims = append(claims, c.SliceClaim)
			released = append(released, batch.Release{SliceClaim: c.SliceClaim})
		}
		if _, err := s.RenewSlices(ctx, claims, time.Second); err != nil && !errors.Is(err, batch.ErrUnavailable) {
			t.Error(err)
			return
		}
		if err := s.ReleaseSlices(ctx, released, time.Second); err != nil && !errors.Is(err, batch.ErrUnavailable) {
			t.Error(err)
			return
		}
	}
}

// check asserts that every line of a batch has its result, once.
func check(t *testing.T, s *Store, b batch.Batch, slices int) {
	t.Helper()
	now, err := s.Batch(t.Context(), tenant, b.ID)
	if err != nil {
		t.Fatal(err)
	}
	lines := int64(64 * slices)
	if want := (openai.RequestCounts{Total: lines, Completed: lines}); now.Counts != want || now.Usage.TotalTokens != lines {
		t.Errorf("counts %+v and %d tokens, want %+v", now.Counts, now.Usage.TotalTokens, want)
	}
	for number := range slices {
		got, err := s.Results(t.Context(), batch.SliceRef{BatchID: b.ID, Number: number})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 64 {
			if len(got) != 64 || got[i].Index != i || string(got[i].Record) != string(result(number, i).Record) {
				t.Fatalf("slice %d has %d results", number, len(got))
			}
		}
	}
}

// TestManyOpenAtOnce starts several instances on an empty database at the same time.
func TestManyOpenAtOnce(t *testing.T) {
	url := server.NewDatabase(t)
	var opening sync.WaitGroup
	for range 8 {
		opening.Go(func() {
			s := made(t, url)
			if err := s.Open(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
}

// TestInstancesShareABatch has three instances that work on one batch and release
// claims at random times. No line may count twice, and no deadlock may occur.
func TestInstancesShareABatch(t *testing.T) {
	const slices = 40
	url := server.NewDatabase(t)
	stores := []*Store{opened(t, url), opened(t, url), opened(t, url)}
	b := running(t, stores[0], slices)
	var working sync.WaitGroup
	for i, s := range stores {
		for j := range 2 {
			working.Go(func() { finish(t, s, fmt.Sprint(i, j), b, slices) })
		}
	}
	working.Wait()
	check(t, stores[0], b, slices)
}

// TestServerTrouble checks that work continues after each fault of the server, and
// that every line counts once.
func TestServerTrouble(t *testing.T) {
	own := pgtest.Start(t)
	for name, trouble := range map[string]func() error{
		"backends terminated": func() error {
			own.Exec(t, "postgres", `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'test%'`)
			return nil
		},
		"restarted":             func() error { return own.Restart(pgtest.Fast) },
		"crashed and recovered": func() error { return own.Restart(pgtest.Immediate) },
	} {
		t.Run(name, func(t *testing.T) {
			const slices = 60
			url := own.NewDatabase(t)
			stores := []*Store{opened(t, url), opened(t, url)}
			b := running(t, stores[0], slices)
			var working sync.WaitGroup
			var over atomic.Bool
			for i, s := range stores {
				working.Go(func() { finish(t, s, fmt.Sprint(i), b, slices); over.Store(true) })
			}
			for n := int64(0); n < 4 && !over.Load(); n++ {
				until(t, "work gets on", func() bool {
					now, err := stores[0].Batch(t.Context(), tenant, b.ID)
					return over.Load() || err == nil && now.Counts.Completed > n*64*slices/8
				})
				if err := trouble(); err != nil {
					t.Fatal(err)
				}
			}
			working.Wait()
			check(t, stores[0], b, slices)
			for range 3 { // and it is heard of again
				drain(stores[1])
				until(t, "the other is woken", func() bool {
					if _, _, err := stores[0].CreateBatch(t.Context(), batch.NewBatch{ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: "x", CompletionWindow: "24h", Window: time.Hour}); err != nil {
						t.Fatal(err)
					}
					return woken(stores[1])
				})
			}
		})
	}
}

func drain(s *Store) {
	select {
	case <-s.Wake():
	default:
	}
}

func woken(s *Store) bool {
	select {
	case <-s.Wake():
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// TestServerAway checks that every call returns an error within its time limit while
// the server is unavailable.
func TestServerAway(t *testing.T) {
	own := pgtest.Start(t)
	url := own.NewDatabase(t)
	s := opened(t, url)
	b := running(t, s, 1)
	if err := own.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"Ping":          func() error { return s.Ping(t.Context()) },
		"Batch":         func() error { _, err := s.Batch(t.Context(), tenant, b.ID); return err },
		"ActiveBatches": func() error { _, err := s.ActiveBatches(t.Context(), 1); return err },
		"CommitResults": func() error {
			_, err := s.CommitResults(t.Context(), []batch.SegmentWrite{{Claim: batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: b.ID}}}})
			return err
		},
		"Open of another": func() error { return made(t, url).Open(t.Context()) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "it works again", func() bool { return s.Ping(t.Context()) == nil })
}

// A host that takes connections and never answers is given up.
func TestBlackHole(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	s, err := New(Config{URL: "postgres://u:secret@" + hole.Addr().String() + "/d?sslmode=disable", ConnectTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Open(ctx); !errors.Is(err, batch.ErrUnavailable) || strings.Contains(err.Error(), "secret") || ctx.Err() != nil {
		t.Errorf("opened: %v", err)
	}
}

// TestFewConnections checks that operations wait if all connections are in use.
func TestFewConnections(t *testing.T) {
	s, err := New(Config{URL: server.NewDatabase(t), MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestConnectionsExhausted checks the error if the server has no free connection, and
// that no result is lost.
func TestConnectionsExhausted(t *testing.T) {
	own := pgtest.Start(t, "max_connections=8", "superuser_reserved_connections=0")
	url := own.NewDatabase(t)
	s := opened(t, url)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var held []*pgx.Conn
	for {
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			break
		}
		held = append(held, c)
	}
	if err := made(t, url).Open(t.Context()); !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("opened: %v", err)
	}
	for _, c := range held {
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	until(t, "it works again", func() bool { return s.Ping(t.Context()) == nil })
}

func TestURLs(t *testing.T) {
	for _, bad := range []string{"postgres://u:se%cret@h/d", "postgres://u:secret@h:port/d", "postgres://u:secret@h/d?sslmode=perhaps", "host=h password='secret"} {
		if _, err := New(Config{URL: bad}); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "se%cret") {
			t.Errorf("%s: %v", bad, err)
		}
		if _, err := Identity(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	one, err1 := Identity("postgres://u:one@host/d?sslmode=disable")
	two, err2 := Identity("postgresql://u:two@host:5432/d?sslmode=require")
	if one != two || one == "" || err1 != nil || err2 != nil {
		t.Errorf("%q, %v and %q, %v", one, err1, two, err2)
	}
	if other, err := Identity("postgres://u@host/e"); err != nil || other == one {
		t.Errorf("another database: %q, %v", other, err)
	}
	if _, err := New(Config{URL: "postgres://h/d", MaxConns: 1}); err == nil {
		t.Error("one connection is not enough")
	}
}

// Two requests with one idempotency key, on two instances at once, make one
// batch.
func TestIdempotencyRace(t *testing.T) {
	url := server.NewDatabase(t)
	stores := []*Store{opened(t, url), opened(t, url)}
	for round := range 20 {
		ids := make([]string, 8)
		var made atomic.Int64
		var asking sync.WaitGroup
		for i := range ids {
			asking.Go(func() {
				b, created, err := stores[i%2].CreateBatch(t.Context(), batch.NewBatch{
					ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: "/v1/embeddings", InputFileID: "x", CompletionWindow: "24h", Window: time.Hour,
					IdempotencyKey: fmt.Sprint(round), RequestHash: "h",
				})
				if err != nil {
					t.Error(err)
				}
				if created {
					made.Add(1)
				}
				ids[i] = b.ID
			})
		}
		asking.Wait()
		for _, id := range ids {
			if id != ids[0] || made.Load() != 1 {
				t.Fatalf("%d batches: %v", made.Load(), ids)
			}
		}
	}
}

// TestGateways checks that an announced gateway is visible to the others until its
// time ends.
func TestGateways(t *testing.T) {
	url := server.NewDatabase(t)
	one, two := opened(t, url), opened(t, url)
	hello := func(s *Store, id string, loads map[string]batch.Load) []batch.Peer {
		t.Helper()
		others, err := s.Announce(t.Context(), batch.Peer{ID: id, Host: "h", Role: batch.RoleServe, Place: "p", Loads: loads, Lines: map[string]int64{"m" + id: 3}}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return others
	}
	if others := hello(one, "1", map[string]batch.Load{"u": {Live: 1, Batch: 2}}); len(others) != 0 {
		t.Errorf("the first sees %+v", others)
	}
	others := hello(two, "2", nil)
	if len(others) != 1 || others[0].ID != "1" || others[0].Host != "h" || others[0].Role != batch.RoleServe || others[0].Place != "p" || others[0].Loads["u"] != (batch.Load{Live: 1, Batch: 2}) || others[0].Lines["m1"] != 3 || others[0].Since.IsZero() {
		t.Errorf("the second sees %+v", others)
	}
	since := others[0].Since
	hello(one, "1", map[string]batch.Load{"u": {Live: 5}})
	if others := hello(two, "2", nil); others[0].Loads["u"].Live != 5 || !others[0].Since.Equal(since) {
		t.Errorf("then %+v", others)
	}
	two.skew.Store((2 * time.Minute).Microseconds())
	if others := hello(two, "2", nil); len(others) != 0 {
		t.Errorf("one that is silent: %+v", others)
	}
	if err := two.Withdraw(t.Context(), "2"); err != nil {
		t.Fatal(err)
	}
	if others := hello(one, "1", nil); len(others) != 0 {
		t.Errorf("one that left: %+v", others)
	}
}
