package upload_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	parallel = 50
	owner    = batch.DefaultTenant
)

// drivers opens an empty store and a directory.
func drivers(t *testing.T) (batch.Store, batch.Files) {
	t.Helper()
	dir := t.TempDir()
	store, files := sqlite.New(sqlite.Config{Path: filepath.Join(dir, "db")}), local.New(local.Config{Dir: filepath.Join(dir, "files"), Reserve: 1})
	for _, part := range []interface {
		Open(ctx context.Context) error
		Close() error
	}{store, files} {
		if err := part.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := part.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return store, files
}

// requests returns a file of requests of n bytes.
func requests(n int) string { return `{"x":"` + strings.Repeat("x", n-9) + `"}` + "\n" }

func wantStored(t *testing.T, s batch.Store, tenant string, want batch.Stored) {
	t.Helper()
	uses, err := s.Storage(t.Context(), tenant)
	if got := batch.StoredOf(uses); err != nil || got != want {
		t.Errorf("got %+v stored, error %v, want %+v", got, err, want)
	}
}

func wantNothingHeld(t *testing.T, services ...*upload.Service) {
	t.Helper()
	for _, s := range services {
		if got := s.Arriving.Total(); got != (batch.Stored{}) {
			t.Errorf("got %+v held after all uploads, want nothing", got)
		}
	}
}

// send stores a file of requests, which declares its size or not.
func send(ctx context.Context, s *upload.Service, tenant, content string, declared int64) error {
	in, err := s.Begin(ctx, tenant, declared)
	if err != nil {
		return err
	}
	if _, err := io.Copy(struct{ io.Writer }{in}, strings.NewReader(content)); err != nil {
		return errors.Join(err, in.Abort())
	}
	_, err = in.Commit(ctx, tenant, upload.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch})
	return err
}

// atOnce calls do concurrently, as often as there are parallel uploads, and returns how many
// were not refused. Other errors fail the test.
func atOnce(t *testing.T, do func(i int) error) int64 {
	t.Helper()
	var (
		wg       sync.WaitGroup
		accepted atomic.Int64
	)
	for i := range parallel {
		wg.Go(func() {
			err := do(i)
			if _, refused := errors.AsType[*batch.QuotaError](err); err != nil && !refused {
				t.Error(err)
			} else if err == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	return accepted.Load()
}

// As many uploads at the same time are accepted as fit, with one gateway and with two on the
// same store.
func TestParallelUploads(t *testing.T) {
	t.Parallel()
	const size = 100
	for name, c := range map[string]struct {
		limits   upload.Limits
		gateways int
		accepted int64
	}{
		"bytes of a tenant":              {upload.Limits{MaxStoredBytes: 20*size + size - 1}, 1, 20},
		"bytes of a tenant, two engines": {upload.Limits{MaxStoredBytes: 20*size + size - 1}, 2, 20},
		"bytes of all":                   {upload.Limits{MaxTotalBytes: 20 * size}, 1, 20},
		"bytes of all, two engines":      {upload.Limits{MaxTotalBytes: 20 * size}, 2, 20},
		"files of all":                   {upload.Limits{MaxTotalFiles: 7}, 1, 7},
		"files of all, two engines":      {upload.Limits{MaxTotalFiles: 7}, 2, 7},
		"files of a tenant":              {upload.Limits{MaxFiles: 7}, 1, 7},
		"everything fits":                {upload.Limits{MaxStoredBytes: parallel * size, MaxTotalBytes: parallel * size, MaxTotalFiles: parallel}, 1, parallel},
		"everything fits, two engines":   {upload.Limits{MaxTotalBytes: parallel * size, MaxTotalFiles: parallel}, 2, parallel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, files := drivers(t)
			var services []*upload.Service
			for range c.gateways {
				services = append(services, &upload.Service{Store: store, Files: files, Limits: c.limits, Arriving: new(upload.Arriving)})
			}
			got := atOnce(t, func(i int) error {
				tenant := owner
				if c.limits.MaxStoredBytes == 0 && c.limits.MaxFiles == 0 && i%4 == 0 {
					tenant = "other"
				}
				return send(t.Context(), services[i%len(services)], tenant, requests(size), size)
			})
			if got != c.accepted {
				t.Errorf("got %d uploads accepted, want %d", got, c.accepted)
			}
			wantStored(t, store, batch.AllTenants, batch.Stored{Files: c.accepted, Bytes: c.accepted * size})
			wantNothingHeld(t, services...)
		})
	}
}

// TestParallelUploadsOfTenants finds a tenant with the limits of others or the default instead
// of its own, on two gateways: each tenant stores as much as its own limit allows.
func TestParallelUploadsOfTenants(t *testing.T) {
	t.Parallel()
	const size = 100
	limits := upload.Limits{MaxStoredBytes: 5 * size, MaxFiles: 6}
	tenants := map[string]batch.StorageLimit{"few": {Bytes: 3 * size}, "more": {Bytes: 10 * size, Files: 9}, "files": {Files: 2}}
	for tenant, accepted := range map[string]int64{owner: 5, "few": 3, "more": 9, "files": 2} {
		t.Run(tenant, func(t *testing.T) {
			t.Parallel()
			store, files := drivers(t)
			var services []*upload.Service
			for range 2 {
				services = append(services, &upload.Service{Store: store, Files: files, Limits: limits, Tenants: tenants, Arriving: new(upload.Arriving)})
			}
			got := atOnce(t, func(i int) error {
				return send(t.Context(), services[i%2], tenant, requests(size), size*int64(i%2))
			})
			if got != accepted {
				t.Errorf("got %d uploads accepted, want %d", got, accepted)
			}
			wantStored(t, store, tenant, batch.Stored{Files: accepted, Bytes: accepted * size})
			wantNothingHeld(t, services...)
		})
	}
}

// The declared size is held while a file arrives, so that another one is refused at its begin,
// and is free again after each kind of end.
func TestHeldSpace(t *testing.T) {
	t.Parallel()
	const size = 1000
	store, files := drivers(t)
	s := &upload.Service{Store: store, Files: files, Limits: upload.Limits{MaxTotalBytes: size}, Arriving: new(upload.Arriving)}
	full := func(when string) {
		t.Helper()
		_, err := s.Begin(t.Context(), "other", size/2+1)
		if e, refused := errors.AsType[*batch.QuotaError](err); !refused || !e.All || e.Kind != batch.QuotaBytes {
			t.Errorf("%s: got %v, want a refusal", when, err)
		}
	}
	begin := func(declared int64) *upload.Incoming {
		t.Helper()
		in, err := s.Begin(t.Context(), owner, declared)
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	in := begin(size / 2)
	full("a file is declared")
	if err := in.Abort(); err != nil {
		t.Fatal(err)
	}
	in = begin(0)
	if _, err := io.WriteString(in, requests(size/2)); err != nil {
		t.Fatal(err)
	}
	full("a file has grown")
	if _, err := in.Commit(t.Context(), owner, upload.CommitRequest{Filename: "in.zip", Purpose: openai.PurposeBatch}); err == nil {
		t.Error("got no error for a file that is no archive")
	}
	wantNothingHeld(t, s)

	u, err := s.CreateUpload(t.Context(), owner, upload.Request{Filename: "in.jsonl", Purpose: openai.PurposeBatch, Bytes: size / 2})
	if err != nil {
		t.Fatal(err)
	}
	part, err := s.BeginPart(t.Context(), owner, u.ID, size/2)
	if err != nil {
		t.Fatal(err)
	}
	full("a part is declared")
	if _, err := io.WriteString(part, requests(size/2)); err != nil {
		t.Fatal(err)
	}
	p, err := part.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantNothingHeld(t, s)
	full("a part is stored")
	if _, _, err := s.CompleteUpload(t.Context(), owner, u.ID, upload.CompleteRequest{PartIDs: []string{p.ID}}); err != nil {
		t.Fatal(err)
	}
	wantNothingHeld(t, s)
	full("an upload is completed")

	// A gateway that is killed and started again has what is stored, and nothing else.
	killed := begin(size / 2)
	restarted := &upload.Service{Store: store, Files: files, Limits: s.Limits, Arriving: new(upload.Arriving)}
	if err := send(t.Context(), restarted, owner, requests(size/2), size/2); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	// Results are written even then, and keep uploads away while they are.
	h := s.Arriving.Hold(owner)
	h.Grow(size)
	h.Release()
	if err := killed.Abort(); err != nil {
		t.Fatal(err)
	}
	wantNothingHeld(t, s, restarted)
}

// A compressed file is refused as soon as its decompressed content does not fit.
func TestHeldDecompression(t *testing.T) {
	t.Parallel()
	store, files := drivers(t)
	s := &upload.Service{Store: store, Files: files, Limits: upload.Limits{MaxTotalBytes: 10_000}, Arriving: new(upload.Arriving)}
	pack := func(n int) string {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := io.WriteString(w, requests(n)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return packed.String()
	}
	put := func(n int) error {
		in, err := s.Begin(t.Context(), owner, 1)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(in, pack(n)); err != nil {
			return errors.Join(err, in.Abort())
		}
		_, err = in.Commit(t.Context(), owner, upload.CommitRequest{Filename: "in.jsonl.gz", Purpose: openai.PurposeBatch})
		return err
	}
	if _, refused := errors.AsType[*batch.QuotaError](put(10_001)); !refused {
		t.Error("got no refusal of a file that does not fit when it is decompressed")
	}
	wantNothingHeld(t, s)
	wantStored(t, store, owner, batch.Stored{})
	if err := put(10_000); err != nil {
		t.Errorf("a file that just fits: %v", err)
	}
	wantNothingHeld(t, s)
}

// A refusal reports what is stored, without the refused content itself, with and without a
// declared size. It finds a message with bytes of the refused upload, which the client cannot
// delete.
func TestRefusedUsedSpace(t *testing.T) {
	t.Parallel()
	const size = 100 << 10 // more than is held in advance at first
	for name, limits := range map[string]upload.Limits{
		"a tenant": {MaxStoredBytes: 3*size + size/2},
		"all":      {MaxTotalBytes: 3*size + size/2},
	} {
		for _, declared := range []int64{0, 1, size, 3 * size} {
			store, files := drivers(t)
			s := &upload.Service{Store: store, Files: files, Limits: limits, Arriving: new(upload.Arriving)}
			if err := send(t.Context(), s, owner, requests(size), size); err != nil {
				t.Fatal(err)
			}
			err := send(t.Context(), s, owner, strings.Repeat(requests(size), 3), declared)
			if e, refused := errors.AsType[*batch.QuotaError](err); !refused || e.Used != size {
				t.Errorf("%s, %d bytes declared: got %v, want a refusal with %d bytes used", name, declared, err, size)
			}
			wantNothingHeld(t, s)
		}
	}
}

// asked is a store that counts questions about what is stored.
type asked struct {
	batch.Store
	own, all atomic.Int64
}

func (s *asked) Storage(ctx context.Context, tenant string) ([]batch.StorageUse, error) {
	if tenant == batch.AllTenants {
		s.all.Add(1)
	} else {
		s.own.Add(1)
	}
	return s.Store.Storage(ctx, tenant)
}

// A new file asks the store what its tenant stores, and what all tenants store only if that is
// limited, which costs more. A refusal asks once. The test fails with a limit of all tenants by
// default, and if a refused content of unknown size asks again for less space, or because of
// contents that are being recorded although there are none.
func TestAskedStorage(t *testing.T) {
	t.Parallel()
	const size = 1000
	for name, c := range map[string]struct {
		limits           upload.Limits
		stored           bool // the space is used up
		declared         int64
		wantOwn, wantAll int64
	}{
		"by default":                    {declared: size, wantOwn: 1},
		"by default, of unknown size":   {wantOwn: 1},
		"with a limit of all":           {limits: upload.Limits{MaxTotalFiles: 10}, declared: size, wantOwn: 1, wantAll: 1},
		"refused":                       {limits: upload.Limits{MaxStoredBytes: size}, stored: true, declared: size, wantOwn: 1},
		"refused, of unknown size":      {limits: upload.Limits{MaxStoredBytes: size}, stored: true, wantOwn: 2}, // the file, and its bytes
		"refused by all, unknown size":  {limits: upload.Limits{MaxTotalBytes: size}, stored: true, wantOwn: 1, wantAll: 1},
		"refused by all, declared size": {limits: upload.Limits{MaxTotalBytes: size}, stored: true, declared: size, wantOwn: 1, wantAll: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, files := drivers(t)
			counted := &asked{Store: store}
			s := &upload.Service{Store: counted, Files: files, Limits: c.limits, Arriving: new(upload.Arriving)}
			if c.stored {
				if err := send(t.Context(), s, owner, requests(size), size); err != nil {
					t.Fatal(err)
				}
			}
			counted.own.Store(0)
			counted.all.Store(0)
			err := send(t.Context(), s, owner, requests(size), c.declared)
			if _, refused := errors.AsType[*batch.QuotaError](err); refused != c.stored || err != nil && !refused {
				t.Errorf("got %v, want a refusal: %t", err, c.stored)
			}
			if own, all := counted.own.Load(), counted.all.Load(); own != c.wantOwn || all != c.wantAll {
				t.Errorf("asked %d times what the tenant stores and %d times what all do, want %d and %d", own, all, c.wantOwn, c.wantAll)
			}
			wantNothingHeld(t, s)
		})
	}
}
