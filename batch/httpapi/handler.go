package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
)

// Batches has the methods that the API needs for batches. A batch that is returned with
// batch.ErrConflict has the conflicting state.
type Batches interface {
	// CreateBatch returns batch.ErrKeyReused if another request used the
	// idempotency key before.
	CreateBatch(ctx context.Context, tenant string, r batch.CreateRequest) (batch.Batch, error)
	Batch(ctx context.Context, tenant, id string) (batch.Batch, error)
	Batches(ctx context.Context, tenant string, q batch.BatchQuery) (page []batch.Batch, more bool, err error)
	CancelBatch(ctx context.Context, tenant, id string) (batch.Batch, error)
	DeleteBatch(ctx context.Context, tenant, id string, d batch.Deletion) (batch.Batch, error)
	// WaitReason returns why no line of a batch can start although it is not paused,
	// "" if there is no such reason.
	WaitReason(ctx context.Context, b batch.Batch) string
	Control
	Lines
	Results
	Reports
	Usages
	Demanded
}

// Config is the configuration of a handler.
type Config struct {
	Files   *upload.Service
	Batches Batches
	// Identity returns the client of a request. nil: access.Everyone.
	Identity func(*http.Request) access.Identity
	// Receipts makes receipts of batches. nil: there are none.
	Receipts Receipts
	// Log logs internal errors. nil: none.
	Log *zap.Logger
}

// handler answers the requests of all routes.
type handler struct {
	files    *upload.Service
	batches  Batches
	receipts Receipts
	identity func(*http.Request) access.Identity
	log      *zap.Logger
	routes   []route
}

// New makes the handler.
func New(cfg Config) http.Handler {
	h := &handler{files: cfg.Files, batches: cfg.Batches, receipts: cfg.Receipts, identity: cfg.Identity, log: cfg.Log}
	if h.identity == nil {
		h.identity = func(*http.Request) access.Identity { return access.Everyone() }
	}
	if h.log == nil {
		h.log = zap.NewNop()
	}
	h.routes = h.table()
	return h
}

// tenant returns the tenant whose objects a request is about: the one that the client has
// selected, or its own.
func (h *handler) tenant(r *http.Request) string {
	if tenant := selected(r.Context()); tenant != "" {
		return tenant
	}
	return access.From(r.Context()).Tenant
}

// answer writes a JSON object with status 200.
func answer(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	writeText(w, body)
	return nil
}

// writeText writes JSON with status 200.
func writeText(w http.ResponseWriter, text []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(text) //nolint:gosec // JSON with nosniff is no page; an error means that the client has disconnected
}
