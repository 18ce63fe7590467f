package httpapi_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a request of a batch.
const line = `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}` + "\n"

// api is the handler on a server, with real drivers in a directory.
type api struct {
	t      *testing.T
	dir    string // of the files
	files  *local.Files
	store  *hooked
	server *httptest.Server
	now    func() time.Time // the clock of the store
	engine *engine.Engine
}

// hooked is a store that a test can break.
type hooked struct {
	batch.Store
	fail      map[string]error // by method
	meanwhile func()           // before results are read or batches are found, once
}

// interrupt runs meanwhile, once.
func (h *hooked) interrupt() {
	if meanwhile := h.meanwhile; meanwhile != nil {
		h.meanwhile = nil
		meanwhile()
	}
}

func (h *hooked) FindBatches(ctx context.Context, tenant string, f batch.BatchFilter) (batch.BatchPage, error) {
	h.interrupt()
	return h.Store.FindBatches(ctx, tenant, f)
}

func (h *hooked) CreateFile(ctx context.Context, f batch.NewFile) (batch.File, error) {
	if err := h.fail["CreateFile"]; err != nil {
		return batch.File{}, err
	}
	f2, err := h.Store.CreateFile(ctx, f)
	if late := h.fail["CreateFile, committed"]; late != nil {
		return batch.File{}, late
	}
	return f2, err
}

func (h *hooked) CompleteUpload(ctx context.Context, tenant, id string, f batch.NewFile) (batch.Upload, batch.File, error) {
	if err := h.fail["CompleteUpload"]; err != nil {
		return batch.Upload{}, batch.File{}, err
	}
	return h.Store.CompleteUpload(ctx, tenant, id, f)
}

func (h *hooked) Batch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	if err := h.fail["Batch"]; err != nil {
		return batch.Batch{}, err
	}
	return h.Store.Batch(ctx, tenant, id)
}

// batches is the service without an engine that works.
type batches struct {
	*engine.Engine
	store *hooked
}

func (b batches) CreateBatch(ctx context.Context, tenant string, r batch.CreateRequest) (batch.Batch, error) {
	made, _, err := b.store.CreateBatch(ctx, batch.NewBatch{
		ID: openai.NewID("batch_"), Tenant: tenant, Endpoint: r.Endpoint, InputFileID: r.InputFileID,
		CompletionWindow: r.CompletionWindow, Window: r.Window, Metadata: r.Metadata, Priority: r.Priority, OutputTTL: r.OutputTTL,
		IdempotencyKey: r.IdempotencyKey, RequestHash: r.RequestHash,
	})
	return made, err
}

func (b batches) Batch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return b.store.Batch(ctx, tenant, id)
}

func (b batches) Batches(ctx context.Context, tenant string, q batch.BatchQuery) ([]batch.Batch, bool, error) {
	return b.store.Batches(ctx, tenant, q)
}

func (b batches) CancelBatch(ctx context.Context, tenant, id string) (batch.Batch, error) {
	return b.store.CancelBatch(ctx, tenant, id)
}

func (b batches) DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (batch.Batch, error) {
	return b.store.DeleteBatch(ctx, tenant, id, d)
}

func (b batches) PingQueue(context.Context) error { return b.store.fail["PingQueue"] }

// noPool is a pool without a server.
type noPool struct{ batch.Dispatcher }

func (noPool) Slots() int      { return 0 }
func (noPool) Up(string) error { return batch.ErrDown }

func (noPool) Capabilities() (c batch.DispatcherCapabilities) { return c }

// tenantHeader has the tenant of a request in these tests.
const tenantHeader = "X-Tenant"

func newAPI(t *testing.T, limits upload.Limits) *api {
	t.Helper()
	dir := t.TempDir()
	a := &api{t: t, dir: filepath.Join(dir, "files"), store: &hooked{fail: make(map[string]error)}, now: time.Now}
	clock := func() time.Time { return a.now() }
	a.store.Store = sqlite.New(sqlite.Config{Path: filepath.Join(dir, "db"), Now: clock})
	a.files = local.New(local.Config{Dir: a.dir, Reserve: 1})
	for _, part := range []interface {
		Open(context.Context) error
		Close() error
	}{a.store, a.files} {
		if err := part.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := part.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	a.engine = engine.NewEngine(batch.Config{}, a.store, memory.New(), a.files, noPool{}, zap.NewNop())
	a.server = httptest.NewServer(httpapi.New(httpapi.Config{
		Files:   &upload.Service{Store: a.store, Files: a.files, Limits: limits},
		Batches: batches{a.engine, a.store},
		Identity: func(r *http.Request) access.Identity {
			return identityOf(cmp.Or(r.Header.Get(tenantHeader), access.DefaultTenant))
		},
		Log: zaptest.NewLogger(t),
	}))
	t.Cleanup(a.server.Close)
	return a
}

// of is the same handler for a subtest.
func (a *api) of(t *testing.T) *api {
	sub := *a
	sub.t = t
	return &sub
}

// reply is an answer that was read whole.
type reply struct {
	*http.Response
	body []byte
}

// envelope is an error as clients see it.
type envelope struct {
	Message, Type string
	Param, Code   *string
}

func (r reply) envelope(t *testing.T) envelope {
	t.Helper()
	var outer map[string]json.RawMessage
	var keys map[string]json.RawMessage
	var e envelope
	if err := json.Unmarshal(r.body, &outer); err != nil {
		t.Fatalf("status %d without an envelope: %q", r.StatusCode, r.body)
	}
	if json.Unmarshal(outer["error"], &keys) != nil || len(outer) != 1 || len(keys) != 4 || json.Unmarshal(outer["error"], &e) != nil {
		t.Fatalf("status %d without an envelope: %s", r.StatusCode, r.body)
	}
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("error is of type %q", got)
	}
	return e
}

func (e envelope) param() string {
	if e.Param == nil {
		return ""
	}
	return *e.Param
}

func (e envelope) code() string {
	if e.Code == nil {
		return ""
	}
	return *e.Code
}

// request sends a request; headers are pairs.
func (a *api) request(method, path, body string, headers ...string) reply {
	a.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(a.t.Context(), method, a.server.URL+path, reader)
	if err != nil {
		a.t.Fatal(err)
	}
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	return a.send(r)
}

func (a *api) send(r *http.Request) reply {
	a.t.Helper()
	resp, err := a.server.Client().Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode >= 400 && r.Method != http.MethodHead {
		reply{resp, got}.envelope(a.t)
	}
	return reply{resp, got}
}

func (a *api) json(method, path, body string, headers ...string) reply {
	a.t.Helper()
	return a.request(method, path, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

// decode reads a successful answer.
func decode[T any](t *testing.T, r reply) T {
	t.Helper()
	var v T
	if r.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", r.StatusCode, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("answer %q: %v", r.body, err)
	}
	return v
}

// part is one part of a form; a file when it has a filename.
type part struct {
	name, filename, content string
}

func multipartOf(parts ...part) (body, contentType string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		header := textproto.MIMEHeader{}
		disposition := `form-data; name="` + p.name + `"`
		if p.filename != "" {
			disposition += `; filename="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p.filename) + `"`
		}
		header.Set("Content-Disposition", disposition)
		dst, err := w.CreatePart(header)
		if err != nil {
			panic(err) // a buffer takes everything
		}
		_, _ = io.WriteString(dst, p.content)
	}
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

func (a *api) form(path string, parts ...part) reply {
	a.t.Helper()
	body, contentType := multipartOf(parts...)
	return a.request(http.MethodPost, path, body, "Content-Type", contentType)
}

// upload stores a file.
func (a *api) upload(purpose, filename, content string) openai.File {
	a.t.Helper()
	return decode[openai.File](a.t, a.form("/v1/files", part{"purpose", "", purpose}, part{"file", filename, content}))
}

// contents are the files on the disk, finished and not.
func (a *api) contents() []string {
	a.t.Helper()
	var found []string
	err := filepath.WalkDir(a.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" && d.Name() != "place" {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return found
}

// stored counts the contents on the disk and the rows of files.
func (a *api) stored() (contents, rows int) {
	a.t.Helper()
	page, _, err := a.store.Files(a.t.Context(), batch.DefaultTenant, batch.FileQuery{Limit: 1000})
	if err != nil {
		a.t.Fatal(err)
	}
	return len(a.contents()), len(page)
}

// wantStored checks the number of stored contents and rows.
func (a *api) wantStored(contents, rows int) {
	a.t.Helper()
	if c, r := a.stored(); c != contents || r != rows {
		a.t.Errorf("got %d contents and %d rows, want %d and %d: %v", c, r, contents, rows, a.contents())
	}
}

// refused is an expected error. An empty message is any.
type refused struct {
	status      int
	param, code string
	message     string // or its beginning
}

func (want refused) check(t *testing.T, r reply) {
	t.Helper()
	if r.StatusCode != want.status {
		t.Errorf("status %d, want %d: %s", r.StatusCode, want.status, r.body)
		return
	}
	e := r.envelope(t)
	if e.param() != want.param || e.code() != want.code || !strings.HasPrefix(e.Message, want.message) {
		t.Errorf("got param %q, code %q, %q; want param %q, code %q, %q", e.param(), e.code(), e.Message, want.param, want.code, want.message)
	}
}

// eventually waits until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("timeout waiting for: %s", what)
		}
	}
}
