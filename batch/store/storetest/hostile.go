package storetest

import (
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// hostile are strings that a database must keep exactly or refuse.
var hostile = []string{
	`'; DROP TABLE batches; --`, `"`, "`", `\`, `\'`, `%`, `_`, `?1`, `$1`, `:id`, `{}`, `null`, `NULL`, `0`, ` `,
	"line\nfeed\r\n", "tab\t", "\x01\x7f", "☃ 𝄞 e\u0301", "\ufeff", "\u202e", "nul\x00inside", "\x00", "bad \xff\xfe utf-8", "\xed\xa0\x80", strings.Repeat("long", 5000),
}

// refusable reports whether a driver may refuse s: text types of databases do not
// accept NUL or bytes that are not UTF-8.
func refusable(s string) bool { return strings.Contains(s, "\x00") || strings.ToValidUTF8(s, "") != s }

// kept checks that a value with s was returned unchanged, or refused.
func (e *env) kept(s, what string, err error, got, want any) {
	e.Helper()
	if err != nil && refusable(s) {
		return
	}
	if err != nil {
		e.Fatalf("%s %q: %v", what, s, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		e.Fatalf("%s %q (-want +got):\n%s", what, s, diff)
	}
}

var hostileTests = []test{
	{"strings of files", func(e *env) {
		for _, s := range hostile {
			n := e.newFile()
			n.Filename, n.Purpose, n.Tenant, n.SHA256 = s, s, s, s
			f, err := e.s.CreateFile(e.Context(), n)
			if err == nil {
				f, err = e.s.File(e.Context(), s, n.ID)
			}
			e.kept(s, "file with", err, f, batch.File{
				ID: n.ID, Tenant: s, Key: n.Key, Filename: s, Purpose: s, Bytes: n.Bytes, SHA256: s, CreatedAt: f.CreatedAt,
			})
			want := 1
			if err != nil {
				want = 0
			}
			page, _, err := e.s.Files(e.Context(), s, batch.FileQuery{Purpose: s, Limit: 10})
			e.ok(err)
			equal(e, "files of "+s, len(page), want)
		}
	}},
	{"strings that look things up", func(e *env) {
		e.failed()
		e.file(nil)
		up := e.upload()
		part := e.part(up)
		for _, s := range hostile {
			_, err := e.s.Parts(e.Context(), tenant, up.ID, []string{part.ID, s})
			e.is(err, batch.ErrNotFound)
			_, err = e.s.File(e.Context(), tenant, s)
			e.is(err, batch.ErrNotFound)
			e.is(e.s.DeleteFile(e.Context(), tenant, s), batch.ErrNotFound)
			_, err = e.s.Upload(e.Context(), tenant, s)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.Batch(e.Context(), s, s)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.CancelBatch(e.Context(), tenant, s)
			e.is(err, batch.ErrNotFound)
			_, err = e.s.DeleteBatch(e.Context(), tenant, s, batch.Deletion{Input: true})
			e.is(err, batch.ErrNotFound)
			_, err = e.s.PauseBatch(e.Context(), tenant, s, "")
			e.is(err, batch.ErrNotFound)
			_, err = e.s.BatchOfKey(e.Context(), tenant, s, s)
			e.is(err, batch.ErrNotFound)
			_, _, err = e.s.Files(e.Context(), tenant, batch.FileQuery{After: s, Limit: 10})
			e.is(err, batch.ErrBadCursor)
			_, _, err = e.s.Batches(e.Context(), tenant, batch.BatchQuery{After: s, Limit: 10})
			e.is(err, batch.ErrBadCursor)
			equal(e, "batches of model "+s, e.found(batch.BatchFilter{Model: s}), nil)
			equal(e, "active batches of model "+s, e.found(batch.BatchFilter{Model: s, Active: true}), nil)
			equal(e, "batches with "+s, e.found(batch.BatchFilter{Text: strings.Repeat(s, 99)}), nil)
			points, err := e.s.UsageSeries(e.Context(), tenant, s, e.lastDay())
			e.ok(err)
			equal(e, "usage of model "+s, points, nil)
			keys, err := e.s.UnknownKeys(e.Context(), []string{s})
			e.kept(s, "unknown key", err, keys, []string{s})
		}
	}},
	{"strings of batches", func(e *env) {
		for _, s := range hostile {
			n := e.newBatch()
			n.InputFileID, n.CompletionWindow, n.Endpoint, n.IdempotencyKey, n.RequestHash = s, s, s, s, s
			b, _, err := e.s.CreateBatch(e.Context(), n)
			if err == nil {
				b, err = e.s.Batch(e.Context(), tenant, n.ID)
			}
			e.kept(s, "batch with", err, b, batch.Batch{
				ID: n.ID, Tenant: tenant, Endpoint: s, InputFileID: s, CompletionWindow: s, Status: batch.Validating, CreatedAt: b.CreatedAt, ExpiresAt: b.ExpiresAt,
			})
			if err != nil {
				continue
			}
			n.ID = e.id("batch_")
			again, created, err := e.s.CreateBatch(e.Context(), n)
			e.ok(err)
			equal(e, "created again", created, false)
			equal(e, "batch", again, b)
		}
	}},
	{"metadata", func(e *env) {
		for _, s := range hostile {
			n := e.newBatch()
			n.Metadata = map[string]string{s: "v", "k": s, "<b>&": "\u2028"}
			b, _, err := e.s.CreateBatch(e.Context(), n)
			if err == nil {
				b, err = e.s.Batch(e.Context(), tenant, n.ID)
			}
			e.kept(s, "metadata", err, b.Metadata, n.Metadata)
		}
	}},
	{"large metadata", func(e *env) {
		m := make(map[string]string)
		for i := range 3 {
			m[fmt.Sprint(i)] = strings.Repeat(string(rune('a'+i)), 1<<20)
		}
		b := e.batch(func(n *batch.NewBatch) { n.Metadata = m })
		if !cmp.Equal(e.get(b).Metadata, m) {
			e.Fatal("metadata differs from the created one")
		}
	}},
	{"findings", func(e *env) {
		for _, s := range hostile {
			b := e.batch(nil)
			findings := []openai.BatchError{{Code: s, Message: s, Param: &s}}
			err := e.s.FailBatch(e.Context(), e.claimBatch(b.ID), findings)
			e.ok(err) // a batch whose findings cannot be written would never end
			if got := e.get(b).Errors; !refusable(s) {
				equal(e, "findings", got, findings)
			}
		}
	}},
	{"names of models and owners", func(e *env) {
		for _, s := range hostile {
			if refusable(s) {
				continue // the engine never passes such strings: models come from JSON, owners are generated
			}
			b := e.batch(nil)
			c, err := e.s.ClaimBatch(e.Context(), s, lease, batch.Validate)
			e.ok(err)
			p := plan(1)
			p.Model = s
			e.ok(e.s.StartBatch(e.Context(), c, p))
			slices, err := e.s.ClaimSlices(e.Context(), batch.Claimant{Owner: s, Lease: lease}, refs(b, 0))
			e.ok(err)
			w := write(slices[0].SliceClaim, 0)
			w.Lines[0].Model, w.Lines[0].Record = s, []byte(s)
			_, err = e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
			e.ok(err)
			equal(e, "model", e.get(b).Model, s)
			equal(e, "record", string(e.results(b, 0)[0].Record), s)
			e.finish(b, batch.Outcome{})
		}
		models := make(map[string]bool)
		for _, r := range e.usage(tenant) {
			models[r.Model] = true
		}
		for _, s := range hostile {
			if !refusable(s) && !models[s] {
				e.Fatalf("no usage of model %q", s)
			}
		}
	}},
	{"records of any bytes", func(e *env) {
		b := e.running(len(hostile))
		w := write(e.claim(b, 0), upTo(len(hostile))...)
		for i, s := range hostile {
			w.Lines[i].Record = []byte(s)
		}
		_, err := e.s.CommitResults(e.Context(), []batch.SegmentWrite{w})
		e.ok(err)
		for i, r := range e.results(b, 0) {
			equal(e, "record", string(r.Record), hostile[i])
		}
	}},
	{"negative and zero limits give nothing", func(e *env) {
		b := e.running(1)
		f := e.file(nil)
		e.ok(e.s.DeleteFile(e.Context(), tenant, f.ID))
		e.upload()
		e.db.Advance(48 * lease)
		for _, limit := range []int{0, -1, -1 << 40} {
			files, _, err := e.s.Files(e.Context(), tenant, batch.FileQuery{Limit: limit})
			e.ok(err)
			batches, _, err := e.s.Batches(e.Context(), tenant, batch.BatchQuery{Limit: limit})
			e.ok(err)
			active, err := e.s.ActiveBatches(e.Context(), limit)
			e.ok(err)
			numbers, err := e.s.ClaimableSlices(e.Context(), b.ID, limit)
			e.ok(err)
			slices, err := e.s.Slices(e.Context(), b.ID, 0, limit)
			e.ok(err)
			expired, err := e.s.ExpireBatches(e.Context(), limit)
			e.ok(err)
			uploads, err := e.s.ExpireUploads(e.Context(), limit)
			e.ok(err)
			dropped, err := e.s.DropWork(e.Context(), limit)
			e.ok(err)
			keys, err := e.s.Garbage(e.Context(), limit)
			e.ok(err)
			forgotten, err := e.s.Forget(e.Context(), limit)
			e.ok(err)
			n := len(files) + len(batches) + len(active) + len(numbers) + len(slices) + len(expired) + uploads + dropped + len(keys) + forgotten
			equal(e, fmt.Sprintf("with limit %d", limit), n, 0)
		}
	}},
}
