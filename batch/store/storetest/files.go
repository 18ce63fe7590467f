package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

var fileTests = []test{
	{"a file is what was made", func(e *env) {
		n := e.newFile()
		n.TTL = 90 * time.Minute
		n.Compression = &openai.Compression{Format: "zstd", OriginalSize: 100, DecompressedSize: 450, CompressionRatio: 4.5}
		before := e.now()
		f, err := e.s.CreateFile(e.Context(), n)
		e.ok(err)
		e.during("created at", f.CreatedAt, before, e.now())
		equal(e, "file", f, batch.File{
			ID: n.ID, Tenant: n.Tenant, Key: n.Key, Filename: n.Filename, Purpose: n.Purpose, Bytes: n.Bytes, SHA256: n.SHA256,
			CreatedAt: f.CreatedAt, ExpiresAt: f.CreatedAt.Add(n.TTL), Compression: n.Compression,
		})
		again, err := e.s.File(e.Context(), tenant, n.ID)
		e.ok(err)
		equal(e, "file read", again, f)
	}},
	{"a file without a time to live never expires", func(e *env) {
		f := e.file(nil)
		if !f.ExpiresAt.IsZero() {
			e.Fatalf("expires at %v", f.ExpiresAt)
		}
		e.db.Advance(100 * 365 * 24 * time.Hour)
		_, err := e.s.File(e.Context(), tenant, f.ID)
		e.ok(err)
	}},
	{"an id and a key are used once", func(e *env) {
		f := e.file(nil)
		n := e.newFile()
		n.ID = f.ID
		if _, err := e.s.CreateFile(e.Context(), n); err == nil {
			e.Fatal("two files have one id")
		}
		n = e.newFile()
		n.Key = f.Key
		if _, err := e.s.CreateFile(e.Context(), n); err == nil {
			e.Fatal("two files have one content")
		}
	}},
	{"an unknown file is not found", func(e *env) {
		_, err := e.s.File(e.Context(), tenant, "file-unknown")
		e.is(err, batch.ErrNotFound)
		e.is(e.s.DeleteFile(e.Context(), tenant, "file-unknown"), batch.ErrNotFound)
	}},
	{"a deleted file is not found", func(e *env) {
		f := e.file(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		_, err := e.s.File(e.Context(), tenant, f.ID)
		e.is(err, batch.ErrNotFound)
		e.is(e.s.DeleteFile(e.Context(), tenant, f.ID), batch.ErrNotFound)
		equal(e, "listed", e.listFiles(batch.FileQuery{Limit: 10}), nil)
	}},
	{"an expired file is not found", func(e *env) {
		f := e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		e.db.Advance(time.Hour)
		_, err := e.s.File(e.Context(), tenant, f.ID)
		e.is(err, batch.ErrNotFound)
		e.is(e.s.DeleteFile(e.Context(), tenant, f.ID), batch.ErrNotFound)
		equal(e, "listed", e.listFiles(batch.FileQuery{Limit: 10}), nil)
	}},
	{"pages", testFilePages},
	{"a page can begin after a file that was deleted or has expired", func(e *env) {
		first, second := e.file(nil), e.file(func(f *batch.NewFile) { f.TTL = time.Hour })
		third := e.file(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, third.ID))
		equal(e, "after the deleted one", e.listFiles(batch.FileQuery{After: third.ID, Limit: 10}), []string{second.ID, first.ID})
		e.db.Advance(time.Hour - time.Second)
		equal(e, "an hour later", e.listFiles(batch.FileQuery{After: third.ID, Limit: 10}), []string{second.ID, first.ID})
		e.db.Advance(time.Second)
		equal(e, "after the expired one", e.listFiles(batch.FileQuery{After: second.ID, Limit: 10}), []string{first.ID})
	}},
	{"deleting page by page deletes all", func(e *env) {
		for range 17 {
			e.file(nil)
		}
		var q batch.FileQuery
		deleted := 0
		for q.Limit = 5; ; {
			page, more, err := e.s.Files(e.Context(), tenant, q)
			e.ok(err)
			for _, f := range page {
				e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
				q.After = f.ID
				deleted++
			}
			if !more {
				break
			}
		}
		equal(e, "deleted", deleted, 17)
		equal(e, "left", e.listFiles(batch.FileQuery{Limit: 100}), nil)
	}},
	{"an unknown cursor is refused", func(e *env) {
		e.file(nil)
		_, _, err := e.s.Files(e.Context(), tenant, batch.FileQuery{After: "file-unknown", Limit: 10})
		e.is(err, batch.ErrBadCursor)
	}},
	{"a forgotten cursor is refused", func(e *env) {
		f := e.file(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		e.collectGarbage()
		e.db.Advance(time.Hour + time.Second)
		_, err := e.s.Forget(e.Context(), 10)
		e.ok(err)
		_, _, err = e.s.Files(e.Context(), tenant, batch.FileQuery{After: f.ID, Limit: 10})
		e.is(err, batch.ErrBadCursor)
	}},
}

// listFiles returns the ids of a page.
func (e *env) listFiles(q batch.FileQuery) []string {
	e.Helper()
	page, _, err := e.s.Files(e.Context(), tenant, q)
	e.ok(err)
	ids := make([]string, len(page))
	for i, f := range page {
		ids[i] = f.ID
	}
	return ids
}

// testFilePages walks through the same files in every order and page size.
func testFilePages(e *env) {
	var all, vision []string
	for i := range 23 {
		f := e.file(func(f *batch.NewFile) {
			if i%3 == 0 {
				f.Purpose = "vision"
			}
		})
		all = append(all, f.ID)
		if i%3 == 0 {
			vision = append(vision, f.ID)
		}
	}
	for _, purpose := range []string{"", "vision", "evals"} {
		for _, ascending := range []bool{true, false} {
			for _, limit := range []int{1, 7, 8, 22, 23, 24, 1000} {
				want := map[string][]string{"": slices.Clone(all), "vision": slices.Clone(vision)}[purpose]
				if !ascending {
					slices.Reverse(want)
				}
				what := fmt.Sprintf("purpose %q, ascending %t, limit %d", purpose, ascending, limit)
				q := batch.FileQuery{Purpose: purpose, Limit: limit, Ascending: ascending}
				for from := 0; ; from += limit {
					page, more, err := e.s.Files(e.Context(), tenant, q)
					e.ok(err)
					to := min(from+limit, len(want))
					got := make([]string, len(page))
					for i, f := range page {
						got[i] = f.ID
					}
					equal(e, what, got, want[from:to])
					equal(e, what+": more", more, to < len(want))
					if !more {
						break
					}
					q.After = got[len(got)-1]
				}
			}
		}
	}
}

func contains(e *env, s, part string) {
	e.Helper()
	if !strings.Contains(s, part) {
		e.Fatalf("%q does not contain %q", s, part)
	}
}
