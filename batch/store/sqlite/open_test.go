package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

func TestNewDoesNoIO(t *testing.T) {
	path := databasePath(t)
	New(Config{Path: path})
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("New made the directory: %v", err)
	}
}

// TestPanicLeavesTheStoreUsable has a server recover from a panic of a handler.
func TestPanicLeavesTheStoreUsable(t *testing.T) {
	s := openStore(t, databasePath(t))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.write(t.Context(), "panicking", func(*tx) error { panic("a bug") })
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.write(ctx, "going on", func(*tx) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestStrangePaths opens paths with characters that are special in a URI.
func TestStrangePaths(t *testing.T) {
	for _, name := range []string{"a b", "50%25", "what?", "c#", "a&b=c", "ü", "file:x"} {
		path := filepath.Join(t.TempDir(), name, name+".db")
		s := New(Config{Path: path})
		if err := errors.Join(s.Open(t.Context()), s.Ping(t.Context()), s.Close()); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() == 0 {
			t.Errorf("%q: database was created at another path", name)
		}
	}
}

func TestPermissions(t *testing.T) {
	path := databasePath(t)
	s := openStore(t, path)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(path): 0o700 | fs.ModeDir, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

// TestPragmas reads the settings for durability and time limits, because SQLite ignores
// unknown pragmas.
func TestPragmas(t *testing.T) {
	s := openStore(t, databasePath(t))
	for _, p := range []*pool{s.writer, s.reader} {
		want := map[string]string{
			"journal_mode": "wal", "auto_vacuum": "2", "busy_timeout": "5000", "foreign_keys": "1", "temp_store": "2", "page_size": "4096",
		}
		if p.purpose == writing {
			want["synchronous"], want["cache_size"], want["query_only"] = "2", "-16384", "0"
			want["wal_autocheckpoint"], want["journal_size_limit"] = "4096", "67108864"
			want["fullfsync"], want["checkpoint_fullfsync"] = "1", "1"
		} else {
			want["cache_size"], want["query_only"] = "-4096", "1"
		}
		for name, value := range want {
			var got string
			if err := p.db.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got != value {
				t.Errorf("%s is %s, want %s", name, got, value)
			}
		}
	}
}

// TestSpaceIsGivenBack drops the work of a batch and checks the size of the file.
func TestSpaceIsGivenBack(t *testing.T) {
	s := openStore(t, databasePath(t))
	pages := func(pragma string) (n int) {
		if err := s.writer.db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// One row of free space to release, beyond the reserve.
	if _, err := s.writer.db.ExecContext(t.Context(), `INSERT INTO batches (id, tenant, endpoint, input_file_id, completion_window, metadata, priority, output_ttl,
		idempotency_key, request_hash, status, created_at, expires_at) VALUES ('b', '', '', '', '', printf('%.*c', 4096 * ?, 'x'), 0, 0, '', '', 'completed', 0, 0)`,
		reservePages+3*vacuumPages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.db.ExecContext(t.Context(), `DELETE FROM batches`); err != nil {
		t.Fatal(err)
	}
	full, free := pages("page_count"), pages("freelist_count")
	if free <= reservePages {
		t.Fatalf("%d pages are free, the test needs more than %d", free, reservePages)
	}
	for range 10 {
		if _, err := s.DropWork(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if got := pages("freelist_count"); got != reservePages {
		t.Errorf("%d pages are free, want %d", got, reservePages)
	}
	if got, want := pages("page_count"), full-(free-reservePages); got > want {
		t.Errorf("the file has %d pages, want at most %d", got, want)
	}
}

// TestCloseWaits closes a store with running operations: those finish, later ones are
// refused, and there is no other error.
func TestCloseWaits(t *testing.T) {
	path := databasePath(t)
	s := openStore(t, path)
	var (
		wg    sync.WaitGroup
		errs  [4]error
		added [4]int
	)
	begun := make(chan struct{}, len(errs))
	for w := range errs {
		wg.Go(func() {
			for errs[w] == nil {
				if errs[w] = s.AddUsage(context.Background(), []batch.UsageRecord{{Tenant: "acme", Requests: 1}}); errs[w] == nil {
					added[w]++
				}
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	for range cap(begun) {
		<-begun
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	want := int64(0)
	for w, err := range errs {
		if !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("error is %v, want %v", err, batch.ErrUnavailable)
		}
		want += int64(added[w])
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	usage, err := s.Usage(t.Context(), "acme", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(usage) != 1 || usage[0].Requests != want {
		t.Errorf("usage is %+v, want %d requests", usage, want)
	}
}

// TestWaitingEndsWithContext has a write wait for another that does not end.
func TestWaitingEndsWithContext(t *testing.T) {
	s := openStore(t, databasePath(t))
	holding, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var held error
	wg.Go(func() {
		held = s.write(context.Background(), "holding the writer", func(*tx) error {
			close(holding)
			<-release
			return nil
		})
	})
	<-holding
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := s.ActiveBatches(t.Context(), 1); err != nil {
		t.Errorf("reads wait for writes: %v", err)
	}
	close(release)
	wg.Wait()
	if held != nil {
		t.Error(held)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestContextEndsWithin has a context end in the middle of a transaction.
func TestContextEndsWithin(t *testing.T) {
	s := openStore(t, databasePath(t))
	ctx, cancel := context.WithCancel(t.Context())
	usage := []batch.UsageRecord{{Tenant: "acme", Requests: 1}}
	err := s.write(ctx, "adding usage", func(t *tx) error {
		if err := t.addUsage(ctx, t.now, usage); err != nil {
			return err
		}
		cancel()
		return t.addUsage(ctx, t.now, usage)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
	left, err := s.Usage(t.Context(), "acme", time.Time{})
	if err != nil || len(left) > 0 {
		t.Errorf("left %+v, %v", left, err)
	}
	if err := s.AddUsage(t.Context(), usage); err != nil {
		t.Error(err)
	}
}

// TestFinishedSliceHasNoLease checks columns that the interface does not return.
func TestFinishedSliceHasNoLease(t *testing.T) {
	s := openStore(t, databasePath(t))
	refs := makeRunning(t, s, "batch_1", 2*batch.SliceLines)
	finishSlices(t, s, refs[:1])
	claimAll(t, s, refs[1:])
	rows := make([]string, 0, 2)
	for number := range 2 {
		var row string
		if err := s.writer.db.QueryRowContext(t.Context(), `SELECT owner || ' ' || (lease_until <> 0) FROM slices WHERE number = ?`, number).Scan(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if rows[0] != " 0" || rows[1] != "worker 1" {
		t.Errorf("leases are %q", rows)
	}
}

func TestMigrationsAreInOrder(t *testing.T) {
	steps, err := store.Migrations(migrationFiles)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 {
		t.Fatal("there are none")
	}
	s := openStore(t, databasePath(t))
	var applied int
	if err := s.writer.db.QueryRowContext(t.Context(), `SELECT count(*) FROM schema_migrations`).Scan(&applied); err != nil {
		t.Fatal(err)
	}
	if applied != len(steps) {
		t.Errorf("%d migrations are applied, want %d", applied, len(steps))
	}
}
