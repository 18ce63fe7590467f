package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
)

// StatusOK is the status of a healthy part.
const StatusOK = "ok"

// Health is the state of the engine.
type Health struct {
	Store string `json:"store"` // StatusOK or the error
	Queue string `json:"queue"`
	Files string `json:"files"`
	// Contents describes missing or unknown contents of files; empty if there are none.
	Contents string `json:"contents,omitempty"`
	// Quarantined counts contents without a row that are kept for now, as of the last
	// round.
	Quarantined int `json:"quarantined,omitempty"`
	// Paused are the reasons why batch work is stopped; empty if it is not.
	Paused []string `json:"paused,omitempty"`
	// Housekeeping are the background tasks whose last round failed. Batch work
	// continues.
	Housekeeping []string `json:"housekeeping,omitempty"`
	// Since is when each of Paused and Housekeeping began.
	Since map[string]time.Time `json:"-"`
	// Owners are the tenants of those of Paused that concern one batch.
	Owners map[string]string `json:"-"`
	// Hours is until when no batch runs because of the time of day; empty if batches may
	// run.
	Hours string `json:"hours,omitempty"`
	// Stopped lists batches that the gateway paused because their lines fail,
	// at most 20 of each tenant.
	Stopped []StoppedBatch `json:"stopped,omitempty"`
	// Role is the part of the work that this gateway does.
	Role batch.Role `json:"role,omitempty"`
	// Gateways are those that share the store, this one first; empty if there is no
	// other one.
	Gateways []Gateway `json:"gateways,omitempty"`
	// InFlight counts lines that were sent and have no durable result yet.
	InFlight int64 `json:"in_flight"`
}

// OK reports whether batch work continues. Failed housekeeping does not affect it.
func (h Health) OK() bool {
	return h.Store == StatusOK && h.Queue == StatusOK && h.Files == StatusOK && h.Contents == "" && len(h.Paused) == 0 && len(h.Stopped) == 0
}

// Of returns the health without what concerns batches of other tenants.
func (h Health) Of(tenant string) Health {
	h.Paused = slices.DeleteFunc(slices.Clone(h.Paused), func(reason string) bool {
		owner, owned := h.Owners[reason]
		return owned && owner != tenant
	})
	h.Stopped = slices.DeleteFunc(slices.Clone(h.Stopped), func(b StoppedBatch) bool { return b.Tenant != tenant })
	return h
}

// Unopened returns the health of an engine that failed to open with err; nil is for one
// that has not tried yet.
func Unopened(err error) Health {
	const not = "not open yet"
	h := Health{Store: not, Queue: not, Files: not, Paused: []string{"files and batches are closed: the gateway is starting"}}
	open, ok := errors.AsType[*OpenError](err)
	if err == nil || !ok {
		if err != nil {
			h.Store = err.Error()
		}
		return h
	}
	h.Paused[0] = "files and batches are closed: " + open.Part
	switch open.Part {
	case "files":
		h.Store, h.Files = StatusOK, open.Err.Error()
	case "queue":
		h.Store, h.Files, h.Queue = StatusOK, StatusOK, open.Err.Error()
	default:
		h.Store = open.Err.Error()
	}
	return h
}

// pingTimeout limits a ping of a part.
const pingTimeout = 3 * time.Second

// Health pings every part.
func (e *Engine) Health(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	unknown, _ := e.Quarantine()
	h := Health{
		Contents: e.contentsProblem(), Quarantined: unknown.Unknown,
		Paused: e.health.reasons(), Housekeeping: e.health.housekeeping(), Since: e.health.since(), Owners: e.health.owners(), Stopped: e.stopped(), InFlight: e.InFlight(),
	}
	if c, closed := e.Closed(); closed {
		h.Hours = c.String()
	}
	h.Role = e.Role()
	if all := e.Gateways(); len(all) > 1 {
		h.Gateways = all
	}
	var asking sync.WaitGroup
	asking.Go(func() { h.Store = verdict(e.store.Ping(ctx)) })
	asking.Go(func() { h.Queue = verdict(e.queue.Ping(ctx)) })
	asking.Go(func() { h.Files = verdict(e.files.Ping(ctx)) })
	asking.Wait()
	return h
}

// PingQueue returns nil if the queue can be used.
func (e *Engine) PingQueue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return e.queue.Ping(ctx)
}

func verdict(err error) string {
	if err != nil {
		return err.Error()
	}
	return StatusOK
}

// health collects the problems of parts of the engine.
type health struct {
	log *zap.Logger

	mu       sync.Mutex
	troubles map[string]trouble // guarded by mu; by part
}

// trouble is the problem of a part.
type trouble struct {
	text   string
	until  time.Time // it expires then unless it is recorded again; zero: it does not
	chore  bool      // a failed round of housekeeping
	tenant string    // of the batch that it concerns; "" for all others
	since  time.Time // when the part got into trouble
}

func (t trouble) past() bool { return !t.until.IsZero() && time.Now().After(t.until) }

// record records err as the trouble of a part, or its end if err is nil, and reports
// whether that is a change. A trouble expires after the time past, unless that is 0.
func (h *health) record(who string, err error, past time.Duration) bool {
	return h.recordAs(who, err, past, trouble{})
}

// recordAs is record; now has the kind of the trouble.
func (h *health) recordAs(who string, err error, past time.Duration, now trouble) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		_, had := h.troubles[who]
		delete(h.troubles, who)
		return had
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if h.troubles == nil {
		h.troubles = make(map[string]trouble)
	}
	now.text = who + ": " + err.Error()
	if past > 0 {
		now.until = time.Now().Add(past)
	}
	before, had := h.troubles[who]
	now.since = time.Now()
	if had && !before.past() {
		now.since = before.since
	}
	h.troubles[who] = now
	return !had || before.text != now.text || before.past()
}

// has reports whether a part is in trouble.
func (h *health) has(who string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, had := h.troubles[who]
	return had
}

// since returns when each trouble began, by its text.
func (h *health) since() map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := make(map[string]time.Time, len(h.troubles))
	for _, t := range h.troubles {
		began[t.text] = t.since
	}
	return began
}

// owners returns the tenants of the troubles of batches, by their text.
func (h *health) owners() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	tenants := make(map[string]string)
	for _, t := range h.troubles {
		if t.tenant != "" {
			tenants[t.text] = t.tenant
		}
	}
	return tenants
}

// reasons lists the problems that stop batch work, and removes expired ones.
func (h *health) reasons() []string { return h.list(false) }

// housekeeping lists the failed rounds of housekeeping.
func (h *health) housekeeping() []string { return h.list(true) }

func (h *health) list(chores bool) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var texts []string
	for who, t := range h.troubles {
		if t.past() {
			delete(h.troubles, who)
			continue
		}
		if t.chore == chores {
			texts = append(texts, t.text)
		}
	}
	slices.Sort(texts)
	return texts
}

// Note records the error that stops a part, nil for none, and logs a change.
func (h *health) Note(part string, err error) { h.noteFor(part, err, 0, "") }

// batchTrouble limits the time for which an error of a batch is reported without being
// repeated, as another gateway may have claimed the batch. The gateway that has claimed it
// tries again every few seconds.
const batchTrouble = 5 * postponement

// NoteBatch is Note for one batch of a tenant.
func (h *health) NoteBatch(id, tenant string, err error) {
	h.noteFor("batch "+id, err, batchTrouble, tenant)
}

// noteHousekeeping records the error of a round of housekeeping, nil when it
// succeeded, and logs the change. No line waits for such a round.
func (h *health) noteHousekeeping(task string, err error) {
	if !h.recordAs(task, err, 0, trouble{chore: true}) {
		return
	}
	if err != nil {
		h.log.Warn("housekeeping failed", zap.String("task", task), zap.Error(err))
	} else {
		h.log.Info("housekeeping succeeded", zap.String("task", task))
	}
}

func (h *health) noteFor(part string, err error, past time.Duration, tenant string) {
	if !h.recordAs(part, err, past, trouble{tenant: tenant}) {
		return
	}
	if err != nil {
		h.log.Warn("batch work blocked", zap.String("part", part), zap.Error(err))
	} else {
		h.log.Info("batch work resumed", zap.String("part", part))
	}
}
