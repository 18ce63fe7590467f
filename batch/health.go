package batch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Health says how the engine is.
type Health struct {
	Store string `json:"store"` // "ok" or what is wrong
	Queue string `json:"queue"`
	Files string `json:"files"`
	// Paused says why batch work stands still; empty while it does not.
	Paused []string `json:"paused,omitempty"`
	// InFlight counts lines that were sent and have no durable result yet.
	InFlight int64 `json:"in_flight"`
}

// OK tells whether nothing is wrong.
func (h Health) OK() bool {
	return h.Store == "ok" && h.Queue == "ok" && h.Files == "ok" && len(h.Paused) == 0
}

// pingTimeout is how long a part may take to say that it is well.
const pingTimeout = 3 * time.Second

// Health asks every part.
func (e *Engine) Health(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	h := Health{Paused: e.health.reasons(), InFlight: e.runner.inFlightNow.Load()}
	var asking sync.WaitGroup
	asking.Go(func() { h.Store = verdict(e.store.Ping(ctx)) })
	asking.Go(func() { h.Queue = verdict(e.queue.Ping(ctx)) })
	asking.Go(func() { h.Files = verdict(e.files.Ping(ctx)) })
	asking.Wait()
	return h
}

func verdict(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// health collects what keeps parts of the engine from their work.
type health struct {
	mu      sync.Mutex
	trouble map[string]string // guarded by mu; what is wrong by who has it
}

// note records err as the trouble of who, or its end when err is nil, and
// tells whether that is news.
func (h *health) note(who string, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		_, had := h.trouble[who]
		delete(h.trouble, who)
		return had
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if h.trouble == nil {
		h.trouble = make(map[string]string)
	}
	text := who + ": " + err.Error()
	news := h.trouble[who] != text
	h.trouble[who] = text
	return news
}

// has tells whether a part is in trouble.
func (h *health) has(who string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, had := h.trouble[who]
	return had
}

func (h *health) reasons() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(maps.Values(h.trouble))
}

// note keeps in health what keeps a part from its work, nil when nothing does,
// and logs the change.
func (e *Engine) note(who string, err error) {
	if !e.health.note(who, err) {
		return
	}
	if err != nil {
		e.log.Warn("batch work is held up", zap.String("part", who), zap.Error(err))
	} else {
		e.log.Info("batch work goes on", zap.String("part", who))
	}
}
