package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access"
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
	Paused Problems `json:"paused,omitempty"`
	// Housekeeping are the background tasks whose last round failed. Batch work
	// continues.
	Housekeeping Problems `json:"housekeeping,omitempty"`
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
	h.Paused = slices.DeleteFunc(slices.Clone(h.Paused), func(p Problem) bool { return p.Tenant != "" && p.Tenant != tenant })
	h.Stopped = slices.DeleteFunc(slices.Clone(h.Stopped), func(b StoppedBatch) bool { return b.Tenant != tenant })
	return h
}

// For returns the health as a client sees it: without what concerns batches of other tenants,
// and models that it may not use.
func (h Health) For(client access.Identity) Health {
	if !client.SeesTenants() {
		h = h.Of(client.Tenant)
	}
	h.Paused = access.Visible(client, h.Paused, func(p Problem) string { return p.Model })
	return h
}

// Unopened returns the health of an engine that failed to open with err; nil is for one
// that has not tried yet.
func Unopened(err error) Health {
	const not = "not open yet"
	h := Health{Store: not, Queue: not, Files: not, Paused: Problems{{Text: "files and batches are closed: the gateway is starting"}}}
	open, ok := errors.AsType[*OpenError](err)
	if err == nil || !ok {
		if err != nil {
			h.Store = err.Error()
		}
		return h
	}
	h.Paused[0].Text = "files and batches are closed: " + open.Part
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
		Paused: e.health.reasons(), Housekeeping: e.health.housekeeping(), Stopped: e.stopped(), InFlight: e.InFlight(),
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
