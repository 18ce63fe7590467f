package upload

import (
	"sync"

	"github.com/tidegate/tidegate/batch"
)

// Arriving counts contents of this gateway that have no row yet: what clients send, and
// results that are written. The zero value is empty. It must not be copied.
type Arriving struct {
	// recording is held for reading while a row is inserted and its content removed from
	// the counts. A refusal is decided without such contents, which count twice.
	recording sync.RWMutex

	mu      sync.Mutex // guards what follows
	all     batch.Stored
	tenants map[string]batch.Stored
}

// Hold is a part of Arriving. It is for one goroutine.
type Hold struct {
	arriving *Arriving
	tenant   string
	held     batch.Stored
}

// Hold begins to count a content of a tenant, whatever the limits are.
func (a *Arriving) Hold(tenant string) *Hold {
	h := &Hold{arriving: a, tenant: tenant}
	h.add(batch.Stored{Files: 1})
	return h
}

// Record inserts the rows of contents. On success they are no longer held.
func (a *Arriving) Record(insert func() error, holds ...*Hold) error {
	a.recording.RLock()
	defer a.recording.RUnlock()
	if err := insert(); err != nil {
		return err
	}
	for _, h := range holds {
		h.Release()
	}
	return nil
}

// Total returns what arrives for all tenants.
func (a *Arriving) Total() batch.Stored {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// Grow counts n more bytes.
func (h *Hold) Grow(n int64) { h.add(batch.Stored{Bytes: n}) }

// Release ends counting. It can be repeated, and h may be nil.
func (h *Hold) Release() {
	if h != nil {
		h.add(batch.Stored{Files: -h.held.Files, Bytes: -h.held.Bytes})
	}
}

func (h *Hold) add(more batch.Stored) {
	h.arriving.mu.Lock()
	defer h.arriving.mu.Unlock()
	h.addLocked(more)
}

// take counts more unless check returns an error for what arrives without it.
func (h *Hold) take(more batch.Stored, check func(tenant, all batch.Stored) error) error {
	a := h.arriving
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := check(a.tenants[h.tenant], a.all); err != nil {
		return err
	}
	h.addLocked(more)
	return nil
}

func (h *Hold) addLocked(more batch.Stored) {
	a := h.arriving
	if a.tenants == nil {
		a.tenants = make(map[string]batch.Stored)
	}
	h.held, a.all, a.tenants[h.tenant] = h.held.Add(more), a.all.Add(more), a.tenants[h.tenant].Add(more)
	if a.tenants[h.tenant] == (batch.Stored{}) {
		delete(a.tenants, h.tenant)
	}
}
