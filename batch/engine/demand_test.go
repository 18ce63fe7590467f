package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/internal/metricstest"
)

// inputOf has a line for each model.
func inputOf(models ...string) string {
	var b strings.Builder
	for i, m := range models {
		fmt.Fprintf(&b, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":%q,"messages":[{"role":"user","content":"x"}]}}`+"\n", i, m)
	}
	return b.String()
}

// demand answers with the waiting work by model.
func (h *house) demand() map[string]engine.ModelDemand {
	h.t.Helper()
	d, err := h.engine.Demand(h.t.Context(), tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	models := make(map[string]engine.ModelDemand)
	for _, m := range d.Models {
		models[m.Model] = m
	}
	return models
}

// Batches that wait for models which no server has offered yet are demand for these
// models, so that an autoscaler starts the first server.
func TestDemandOfModelsWithoutServers(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.settled, h.pool.models, h.pool.slots = false, nil, 0 })
	h.open()
	engine.LookOften(h.engine)
	one := h.create(h.upload(inputOf("m", "m", "m")))
	two := h.createFor(h.upload(inputOf("n", "m", "n")), time.Hour)
	until(t, "both batches are counted", func() bool {
		d := h.demand()
		return d["m"].Lines == 4 && d["n"].Lines == 2
	})
	d := h.demand()
	if m := d["m"]; m.Batches != 2 || m.Validating != 2 || len(m.Deadlines) != 2 || m.Deadlines[0].Lines != 1 || m.Deadlines[0].Within != time.Hour {
		t.Errorf("demand of m is %+v, want two validating batches, one line within an hour", m)
	}
	if got := metricstest.Gather(t, h.engine.Collector())["tidegate_batch_lines_waiting{model=other}"]; got != 6 { // no server has ever had the models
		t.Errorf("lines that wait are %v in the metrics, want 6", got)
	}
	for _, id := range []string{one, two} {
		if b := h.get(id); b.Status != batch.Validating {
			t.Errorf("batch is %s, want validating", b.Status)
		}
	}
	h.pool.set(func() { h.pool.settled, h.pool.models = true, map[string]bool{"m": true, "n": true} })
	until(t, "both batches run", func() bool { return h.get(one).Status == batch.InProgress && h.get(two).Status == batch.InProgress })
	until(t, "they are demand of their models as before", func() bool {
		d := h.demand()
		return len(d) == 2 && d["m"].Lines == 4 && d["m"].Validating == 0 && d["n"].Lines == 2 && d["n"].Batches == 1
	})
	h.pool.set(func() { h.pool.slots = 10 })
	h.wait(one)
	h.wait(two)
	until(t, "nothing is left", func() bool { return len(h.demand()) == 0 })
}

// What is wrong with an input whose model is waited for is said at once.
func TestBadInputOfAModelWithoutServers(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.settled, h.pool.models = false, nil })
	h.open()
	b := h.wait(h.create(h.upload(inputOf("m") + "{}\n")))
	if b.Status != batch.Failed || len(b.Errors) == 0 || b.Errors[0].Line == nil || *b.Errors[0].Line != 2 {
		t.Errorf("batch is %s with %+v, want failed by line 2", b.Status, b.Errors)
	}
}

// Lines in flight of a batch of several models are of their models.
func TestDemandOfABatchOfSeveralModels(t *testing.T) {
	h := newHouse(t, batch.Config{})
	gate := make(chan struct{})
	h.pool.set(func() {
		h.pool.models, h.pool.gone = map[string]bool{"m": true, "n": true}, map[string]bool{"n": true}
		h.pool.answer = behind(gate)
	})
	h.open()
	engine.LookOften(h.engine)
	id := h.create(h.upload(inputOf("m", "n", "m", "n", "n")))
	until(t, "the lines of m are in flight", func() bool {
		d := h.demand()
		return d["m"].Lines == 2 && d["m"].InFlight == 2 && d["n"].Lines == 3 && d["n"].InFlight == 0
	})
	close(gate)
	until(t, "those of n are left", func() bool {
		d := h.demand()
		_, m := d["m"]
		return (!m || d["m"].Lines == 0) && d["n"].Lines == 3
	})
	h.pool.set(func() { h.pool.gone = nil })
	h.wait(id)
}

// Demand is not told from a look that is older than its promise, which metrics show
// while the store hangs.
func TestDemandOfAStoreThatHangs(t *testing.T) {
	dir := t.TempDir()
	store := &countingStore{Store: sqlite.New(sqlite.Config{Path: dir + "/tidegate.db"})}
	e := engine.NewEngine(batch.Config{}, store, memory.New(), local.New(local.Config{Dir: dir + "/files"}), newFakePool(), zap.NewNop())
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Start()
	defer stopEngine(t, e)
	if _, err := e.Demand(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	store.stuck.Store(true)
	engine.AgeBacklog(e, 6*time.Second)
	if d, err := e.Demand(t.Context(), tenant); !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("demand of six seconds ago: got %+v, %v, want %v", d, err, batch.ErrUnavailable)
	}
	wantSeries(t, metricstest.Gather(t, e.Collector()), map[string]float64{"tidegate_batches{status=in_progress}": 0})
	store.stuck.Store(false)
	engine.AgeBacklog(e, 6*time.Second)
	if _, err := e.Demand(t.Context(), tenant); err != nil {
		t.Errorf("demand when the store answers again: %v", err)
	}
}

// The speed of a model is known to a gateway that starts, and late batches are told by
// it, not by the last minute.
func TestSpeedAfterARestart(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.slots = 0 })
	h.open()
	id := h.create(h.upload(input(600)))
	until(t, "it runs", func() bool { return h.get(id).Status == batch.InProgress })
	now, err := h.store.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hourAgo := now.Add(-time.Hour).Truncate(time.Minute)
	end := hourAgo.Add(time.Minute - time.Microsecond)
	h.store.flow.Store(&batch.ModelMinute{Model: "m", At: hourAgo, Lines: 600, First: hourAgo, Began: end, Last: end})
	engine.LookOften(h.engine)
	until(t, "the batch is demand", func() bool { return h.demand()["m"].Lines == 600 })
	m := h.demand()["m"]
	if m.LinesPerMinute == nil || *m.LinesPerMinute < 599 || *m.LinesPerMinute > 601 || m.Remaining == nil || *m.Remaining != time.Minute || m.Late != 0 {
		t.Errorf("demand is %+v, want 600 lines per minute and a minute left", m)
	}
}

// A batch that begins is demand all the time, also while the scheduler's list of batches
// does not have it yet.
func TestDemandOfABatchThatBegins(t *testing.T) {
	h := newHouse(t, batch.Config{})
	h.pool.set(func() { h.pool.settled, h.pool.models, h.pool.slots = false, nil, 0 })
	h.open()
	engine.LookOften(h.engine)
	id := h.create(h.upload(inputOf("m", "m")))
	until(t, "the batch is counted", func() bool { return h.demand()["m"].Lines == 2 })
	h.pool.set(func() { h.pool.settled, h.pool.models = true, map[string]bool{"m": true} })
	for h.get(id).Status != batch.InProgress {
		if n := h.demand()["m"].Lines; n != 2 {
			t.Fatalf("demand is %d lines while the batch begins, want 2", n)
		}
	}
	if n := h.demand()["m"].Lines; n != 2 {
		t.Errorf("demand is %d lines when the batch has begun, want 2", n)
	}
}
