package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"go.uber.org/zap"

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
	Demanded
}

// Config is the configuration of a handler.
type Config struct {
	Files   *upload.Service
	Batches Batches
	// Tenant returns the tenant of a request. nil: always
	// batch.DefaultTenant.
	Tenant func(*http.Request) string
	// Log logs internal errors. nil: none.
	Log *zap.Logger
}

// handler answers the requests of all routes.
type handler struct {
	files   *upload.Service
	batches Batches
	tenant  func(*http.Request) string
	log     *zap.Logger
	routes  []route
}

// New makes the handler.
func New(cfg Config) http.Handler {
	h := &handler{files: cfg.Files, batches: cfg.Batches, tenant: cfg.Tenant, log: cfg.Log}
	if h.tenant == nil {
		h.tenant = func(*http.Request) string { return batch.DefaultTenant }
	}
	if h.log == nil {
		h.log = zap.NewNop()
	}
	h.routes = h.table()
	return h
}

// answer writes a JSON object with status 200.
func answer(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body) // the client has disconnected
	return nil
}
