package audit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

const (
	// writeTimeout limits the time for which an action waits for its entry.
	writeTimeout = 2 * time.Second
	// retryInterval is the time between attempts to write entries that were not written.
	retryInterval = time.Second
	// maxPending limits the entries of actions that wait for the store, and
	// maxPendingRefused those of refused requests: neither take the place of the others.
	maxPending        = 10_000
	maxPendingRefused = 1_000
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

	mu      sync.Mutex           // guards what follows
	pending []waiting            // of actions and logins
	denied  []waiting            // of refused requests
	logins  map[source]time.Time // the last entry
	refused map[source]bool      // in the window
	window  time.Time            // its beginning
	omitted int                  // refusals in it without an entry

	lost map[batch.AuditOutcome]*atomic.Int64
}

var descLost = prometheus.NewDesc("tidegate_audit_entries_lost_total", "Entries of the audit log that were lost because too many waited for the store, or the gateway stopped without it, by outcome.", []string{"outcome"}, nil)

// Describe implements prometheus.Collector.
func (r *Recorder) Describe(ch chan<- *prometheus.Desc) { ch <- descLost }

// Collect implements prometheus.Collector.
func (r *Recorder) Collect(ch chan<- prometheus.Metric) {
	for outcome, n := range r.lost {
		ch <- prometheus.MustNewConstMetric(descLost, prometheus.CounterValue, float64(n.Load()), string(outcome))
	}
}

// queueLocked returns the entries that wait with one of an outcome, and their limit.
func (r *Recorder) queueLocked(outcome batch.AuditOutcome) (queue *[]waiting, limit int) {
	if outcome == batch.AuditRefused {
		return &r.denied, maxPendingRefused
	}
	return &r.pending, maxPending
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
	return &Recorder{
		store: store, log: log, now: now, logins: make(map[source]time.Time), refused: make(map[source]bool),
		lost: map[batch.AuditOutcome]*atomic.Int64{batch.AuditDone: new(atomic.Int64), batch.AuditRefused: new(atomic.Int64)},
	}
}

// Record adds the entry of an action that was done. It returns when the entry is durable, or
// when it will be written later because the store does not answer.
func (r *Recorder) Record(ctx context.Context, e batch.AuditEntry) {
	r.mu.Lock()
	behind := len(r.pending)+len(r.denied) > 0 // the store did not answer the entries before
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
	queue, limit := r.queueLocked(e.Outcome)
	if len(*queue) >= limit {
		r.countLost(e)
		r.log.Error("audit entry lost: too many wait for the store", fields(e)...)
		return
	}
	*queue = append(*queue, waiting{e, began})
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
	for _, w := range slices.Concat(r.pending, r.denied) {
		r.countLost(w.AuditEntry)
		r.log.Error("audit entry lost: the gateway stops without its store", fields(w.AuditEntry)...)
	}
	r.pending, r.denied = nil, nil
}

func (r *Recorder) countLost(e batch.AuditEntry) {
	n := r.lost[e.Outcome]
	if n == nil {
		n = r.lost[batch.AuditDone]
	}
	n.Add(1)
}

// fields describe an entry in the program's log.
func fields(e batch.AuditEntry) []zap.Field {
	return []zap.Field{
		zap.String("action", string(e.Action)), zap.String("outcome", string(e.Outcome)), zap.String("object", e.Object),
		zap.String("key", e.KeyID), zap.String("address", e.Address), zap.String("request_id", e.RequestID),
	}
}

// flush writes the entries that wait, those of actions first, until a write fails.
func (r *Recorder) flush(ctx context.Context) {
	for _, queue := range []*[]waiting{&r.pending, &r.denied} {
		if !r.flushQueue(ctx, queue) {
			return
		}
	}
}

func (r *Recorder) flushQueue(ctx context.Context, queue *[]waiting) (ok bool) {
	for {
		r.mu.Lock()
		first := (*queue)[:min(len(*queue), chunk)]
		r.mu.Unlock()
		if len(first) == 0 {
			return true
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
			return false
		}
		r.mu.Lock()
		*queue = (*queue)[len(first):]
		if len(*queue) == 0 {
			*queue = nil // releases the memory
		}
		r.mu.Unlock()
	}
}
