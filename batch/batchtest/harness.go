package batchtest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// Tenant owns all files and batches of a Harness.
const Tenant = batch.DefaultTenant

// Harness is an engine with SQLite, local files and a queue in memory.
type Harness struct {
	T      testing.TB
	Dir    string // of the database and the files
	Config batch.Config
	Pool   *Pool
	// Now is the clock of the store; time.Now if nil.
	Now func() time.Time
	// NewQueue returns the queue of the engine that Open starts.
	NewQueue func() batch.Queue

	Store   *HookedStore   // set by Open
	Engine  *engine.Engine // set by Open; nil after Close
	Session *Session       // set for a member of a Cluster
}

// New returns a harness in a new directory. Retries have almost no backoff, unless cfg
// sets one.
func New(t testing.TB, cfg batch.Config) *Harness {
	t.Helper()
	if cfg.RetryBackoffMin == 0 {
		cfg.RetryBackoffMin, cfg.RetryBackoffMax = time.Millisecond, 2*time.Millisecond
	}
	return &Harness{T: t, Dir: t.TempDir(), Config: cfg, Pool: NewPool(), NewQueue: func() batch.Queue { return memory.New() }}
}

// Open starts an engine on the directory. The end of the test stops it.
func (h *Harness) Open() {
	h.T.Helper()
	h.Store = NewHookedStore(h.NewStore())
	h.start(h.Store, h.NewQueue(), h.NewFiles())
}

// NewStore returns a store in the directory that is not open.
func (h *Harness) NewStore() batch.Store {
	return sqlite.New(sqlite.Config{Path: h.Dir + "/tidegate.db", Now: h.Now})
}

// NewFiles returns files in the directory that are not open.
func (h *Harness) NewFiles() batch.Files { return local.New(local.Config{Dir: h.Dir + "/files"}) }

// NewEngine returns an engine with a queue in memory that is not open.
func NewEngine(cfg batch.Config, s batch.Store, f batch.Files, d batch.Dispatcher) *engine.Engine {
	return engine.NewEngine(cfg, s, memory.New(), f, d, zap.NewNop())
}

func (h *Harness) start(s batch.Store, q batch.Queue, f batch.Files) {
	h.T.Helper()
	started := engine.NewEngine(h.Config, s, q, f, h.Pool, zap.NewNop())
	if err := started.Open(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	started.Start()
	h.Adopt(started)
}

// Adopt makes a started engine that of the harness. The end of the test stops it.
func (h *Harness) Adopt(started *engine.Engine) {
	h.Engine = started
	h.T.Cleanup(func() {
		if h.Engine == started { // not closed by the test
			h.Close(0)
		}
	})
}

// Close stops the engine. Lines in flight may finish until drain is over.
func (h *Harness) Close(drain time.Duration) {
	h.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := h.Engine.Stop(ctx); err != nil {
		h.T.Errorf("stopping: %v", err)
	}
	h.Engine = nil
}

// Files returns the upload service of the engine.
func (h *Harness) Files() *upload.Service {
	return &upload.Service{Store: h.Engine.Store(), Files: h.Engine.Files(), Arriving: h.Engine.Arriving()}
}

// Upload stores an input file and returns its id.
func (h *Harness) Upload(content string) string {
	h.T.Helper()
	in, err := h.Files().Begin(h.T.Context(), batch.DefaultTenant, 0)
	if err != nil {
		h.T.Fatal(err)
	}
	defer func() {
		if err := in.Abort(); err != nil {
			h.T.Error(err)
		}
	}()
	if _, err := io.Copy(in, strings.NewReader(content)); err != nil {
		h.T.Fatal(err)
	}
	f, err := in.Commit(h.T.Context(), Tenant, upload.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch})
	if err != nil {
		h.T.Fatal(err)
	}
	return f.ID
}

// Create creates a batch of an input file with a window of 24 hours, and returns its id.
func (h *Harness) Create(fileID string) string {
	h.T.Helper()
	return h.CreateFor(fileID, 24*time.Hour)
}

// CreateFor is Create with another window.
func (h *Harness) CreateFor(fileID string, window time.Duration) string {
	h.T.Helper()
	b, err := h.Engine.CreateBatch(h.T.Context(), Tenant, batch.CreateRequest{
		InputFileID: fileID, Endpoint: "/v1/chat/completions", CompletionWindow: window.String(), Window: window,
	})
	if err != nil {
		h.T.Fatal(err)
	}
	return b.ID
}

// Get returns a batch.
func (h *Harness) Get(id string) batch.Batch {
	h.T.Helper()
	b, err := h.Engine.Batch(h.T.Context(), Tenant, id)
	if err != nil {
		h.T.Fatal(err)
	}
	return b
}

// Pause pauses a batch.
func (h *Harness) Pause(id string) batch.Batch {
	h.T.Helper()
	b, err := h.Engine.PauseBatch(h.T.Context(), Tenant, id)
	if err != nil {
		h.T.Fatal(err)
	}
	return b
}

// Resume resumes a batch.
func (h *Harness) Resume(id string) {
	h.T.Helper()
	if _, err := h.Engine.ResumeBatch(h.T.Context(), Tenant, id); err != nil {
		h.T.Fatal(err)
	}
}

// Wait returns a batch after it has ended.
func (h *Harness) Wait(id string) batch.Batch {
	h.T.Helper()
	timeout := time.After(Patience)
	for {
		if b := h.Get(id); b.Status.Terminal() {
			return b
		}
		select {
		case <-h.Store.Ended:
		case <-timeout:
			h.T.Fatalf("batch has not ended after %s: %+v; health %+v", Patience, h.Get(id), h.Engine.Health(h.T.Context()))
		}
	}
}

// WaitCounted waits until n lines are completed durably.
func (h *Harness) WaitCounted(id string, n int64) {
	h.T.Helper()
	for start := time.Now(); h.Get(id).Counts.Completed < n; pause(start) {
		if time.Since(start) > Patience {
			h.T.Fatalf("got %d completed lines after %s, want %d", h.Get(id).Counts.Completed, Patience, n)
		}
	}
}

// WaitIdle waits until no line is in flight and n lines of a batch are completed.
func (h *Harness) WaitIdle(id string, n int) {
	h.T.Helper()
	Until(h.T, "lines in flight are durable", func() bool {
		return h.Engine.Health(h.T.Context()).InFlight == 0 && h.Get(id).Counts.Completed == int64(n)
	})
}
