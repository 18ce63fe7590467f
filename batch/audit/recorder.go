package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

const (
	// writeTimeout limits the time for which an action waits for its entry.
	writeTimeout = 2 * time.Second
	// retryInterval is the time between attempts to write entries that were not written.
	retryInterval = time.Second
	// maxPending limits the entries that wait for the store.
	maxPending = 10_000
	// chunk is the number of entries that are written together.
	chunk = 500
	// refusedWindow is the time in which equal refusals have one entry, and maxRefused
	// the number of entries in it.
	refusedWindow = time.Minute
	maxRefused    = 60
	// loginWindow is the time in which the requests of a client count as one login.
	// maxLogins limits the clients that are remembered for it.
	loginWindow = 12 * time.Hour
	maxLogins   = 10_000
)

// Store is the part of a batch.Store that a Recorder uses.
type Store interface {
	AddAudit(ctx context.Context, entries []batch.AuditEntry) error
}

// Recorder adds entries to the audit log. While the store is unavailable, it keeps a limited
// number of them in memory: the actions, such as draining a server, must be possible then.
type Recorder struct {
	store Store
	log   *zap.Logger
	now   func() time.Time

	mu      sync.Mutex // guards what follows
	pending []waiting
	logins  map[source]time.Time // the last entry
	refused map[source]bool      // in the window
	window  time.Time            // its beginning
	omitted int                  // refusals in it without an entry
}

// waiting is an entry that was not written yet.
type waiting struct {
	batch.AuditEntry
	since time.Time
}

// source identifies equal requests.
type source struct{ key, address, object string }

func sourceOf(e batch.AuditEntry) source { return source{e.KeyID, e.Address, e.Object} }

// NewRecorder returns a recorder. now is the clock, time.Now if nil.
func NewRecorder(store Store, log *zap.Logger, now func() time.Time) *Recorder {
	if now == nil {
		now = time.Now
	}
	return &Recorder{store: store, log: log, now: now, logins: make(map[source]time.Time), refused: make(map[source]bool)}
}

// Record adds the entry of an action that was done. It returns when the entry is durable, or
// when it will be written later because the store does not answer.
func (r *Recorder) Record(ctx context.Context, e batch.AuditEntry) {
	r.mu.Lock()
	behind := len(r.pending) > 0 // the store did not answer the entries before
	r.mu.Unlock()
	began := r.now()
	if !behind {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		err := r.store.AddAudit(ctx, []batch.AuditEntry{e})
		cancel()
		if err == nil {
			return
		}
		r.log.Warn("audit entry is written later", zap.String("action", string(e.Action)), zap.Error(err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) >= maxPending {
		r.log.Error("audit entry lost: too many wait for the store", fields(e)...)
		return
	}
	r.pending = append(r.pending, waiting{e, began})
}

// Login records that a client opened the dashboard, once in a time.
func (r *Recorder) Login(ctx context.Context, e batch.AuditEntry) {
	if r.first(sourceOf(e)) {
		r.Record(ctx, e)
	}
}

func (r *Recorder) first(s source) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if last, ok := r.logins[s]; ok && now.Sub(last) < loginWindow {
		return false
	}
	if len(r.logins) >= maxLogins {
		clear(r.logins)
	}
	r.logins[s] = now
	return true
}

// Refuse records that a request was refused: equal ones once a minute, and a limited number
// of different ones. The number of the others is an entry of its own.
func (r *Recorder) Refuse(ctx context.Context, e batch.AuditEntry) {
	e.Outcome = batch.AuditRefused
	record, omitted := r.noteRefused(sourceOf(e))
	if omitted > 0 {
		more := batch.AuditEntry{Action: e.Action, Outcome: e.Outcome, Detail: fmt.Sprintf("%d more requests were refused before", omitted)}
		r.Record(ctx, more)
	}
	if record {
		r.Record(ctx, e)
	}
}

func (r *Recorder) noteRefused(s source) (record bool, omitted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.window) >= refusedWindow {
		omitted, r.omitted, r.window = r.omitted, 0, now
		clear(r.refused)
	}
	if r.refused[s] || len(r.refused) >= maxRefused {
		r.omitted++
		return false, omitted
	}
	r.refused[s] = true
	return true, omitted
}

// Run writes entries that wait, until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx))
			r.lose()
			return
		case <-ticker.C:
			r.flush(ctx)
		}
	}
}

// lose logs the entries that the store has not accepted until the end.
func (r *Recorder) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.pending {
		r.log.Error("audit entry lost: the gateway stops without its store", fields(w.AuditEntry)...)
	}
	r.pending = nil
}

// fields describe an entry in the program's log.
func fields(e batch.AuditEntry) []zap.Field {
	return []zap.Field{
		zap.String("action", string(e.Action)), zap.String("outcome", string(e.Outcome)), zap.String("object", e.Object),
		zap.String("key", e.KeyID), zap.String("address", e.Address), zap.String("request_id", e.RequestID),
	}
}

// flush writes the entries that wait, until a write fails.
func (r *Recorder) flush(ctx context.Context) {
	for {
		r.mu.Lock()
		first := r.pending[:min(len(r.pending), chunk)]
		r.mu.Unlock()
		if len(first) == 0 {
			return
		}
		entries := make([]batch.AuditEntry, len(first))
		for i, w := range first {
			entries[i] = w.AuditEntry
			entries[i].Age = r.now().Sub(w.since)
		}
		bounded, cancel := context.WithTimeout(ctx, writeTimeout)
		err := r.store.AddAudit(bounded, entries)
		cancel()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.pending = r.pending[len(first):]
		if len(r.pending) == 0 {
			r.pending = nil // releases the memory
		}
		r.mu.Unlock()
	}
}
