package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Problem is a problem of a part of the engine. In JSON it is its text.
type Problem struct {
	Text   string    // the part and the error: "storing files: no space"
	Since  time.Time // when the problem began
	Tenant string    // of the batch that it concerns; "" if it concerns all batches
	Model  string    // that it concerns; "" for none
}

// String returns the text.
func (p Problem) String() string { return p.Text }

// MarshalText returns the text.
func (p Problem) MarshalText() ([]byte, error) { return []byte(p.Text), nil }

// Problems are sorted by their texts.
type Problems []Problem

// Texts returns the text of each problem.
func (p Problems) Texts() []string {
	texts := make([]string, len(p))
	for i, one := range p {
		texts[i] = one.Text
	}
	return texts
}

// health collects the problems of parts of the engine.
type health struct {
	log *zap.Logger

	mu     sync.Mutex
	byPart map[string]partProblem // guarded by mu
}

// partProblem is the problem of a part.
type partProblem struct {
	Problem
	until time.Time // it expires then unless it is recorded again; zero: it does not
	chore bool      // a failed round of housekeeping
}

func (p partProblem) expired() bool { return !p.until.IsZero() && time.Now().After(p.until) }

// record records err as the problem of a part, or its end if err is nil, and reports
// whether that is a change. A problem expires after ttl, unless that is 0.
func (h *health) record(part string, err error, ttl time.Duration) bool {
	return h.recordAs(part, err, ttl, partProblem{})
}

// recordAs is record; now has the kind of the problem.
func (h *health) recordAs(part string, err error, ttl time.Duration, now partProblem) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		_, had := h.byPart[part]
		delete(h.byPart, part)
		return had
	}
	if errors.Is(err, context.Canceled) {
		return false
	}
	if h.byPart == nil {
		h.byPart = make(map[string]partProblem)
	}
	now.Text = part + ": " + err.Error()
	if ttl > 0 {
		now.until = time.Now().Add(ttl)
	}
	before, had := h.byPart[part]
	now.Since = time.Now()
	if had && !before.expired() {
		now.Since = before.Since
	}
	h.byPart[part] = now
	return !had || before.Text != now.Text || before.expired()
}

// has reports whether a part has a problem.
func (h *health) has(part string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, had := h.byPart[part]
	return had
}

// reasons lists the problems that stop batch work, and removes expired ones.
func (h *health) reasons() Problems { return h.list(false) }

// housekeeping lists the failed rounds of housekeeping.
func (h *health) housekeeping() Problems { return h.list(true) }

func (h *health) list(chores bool) Problems {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found Problems
	for part, p := range h.byPart {
		if p.expired() {
			delete(h.byPart, part)
			continue
		}
		if p.chore == chores {
			found = append(found, p.Problem)
		}
	}
	slices.SortFunc(found, func(a, b Problem) int { return strings.Compare(a.Text, b.Text) })
	return found
}

// Note records the error that stops a part, nil for none, and logs a change.
func (h *health) Note(part string, err error) { h.noteFor(part, err, 0, Problem{}) }

// NoteModel is Note for one model.
func (h *health) NoteModel(model string, err error) {
	h.noteFor("model "+model, err, 0, Problem{Model: model})
}

// batchProblemTTL limits the time for which an error of a batch is reported without being
// repeated, as another gateway may have claimed the batch. The gateway that has claimed it
// tries again every few seconds.
const batchProblemTTL = 5 * postponement

// NoteBatch is Note for one batch of a tenant.
func (h *health) NoteBatch(id, tenant string, err error) {
	h.noteFor("batch "+id, err, batchProblemTTL, Problem{Tenant: tenant})
}

// noteHousekeeping records the error of a round of housekeeping, nil when it
// succeeded, and logs the change. No line waits for such a round.
func (h *health) noteHousekeeping(task string, err error) {
	if !h.recordAs(task, err, 0, partProblem{chore: true}) {
		return
	}
	if err != nil {
		h.log.Warn("housekeeping failed", zap.String("task", task), zap.Error(err))
	} else {
		h.log.Info("housekeeping succeeded", zap.String("task", task))
	}
}

func (h *health) noteFor(part string, err error, ttl time.Duration, about Problem) {
	if !h.recordAs(part, err, ttl, partProblem{Problem: about}) {
		return
	}
	if err != nil {
		h.log.Warn("batch work blocked", zap.String("part", part), zap.Error(err))
	} else {
		h.log.Info("batch work resumed", zap.String("part", part))
	}
}
