package engine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
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
func (h harness) demand() map[string]engine.ModelDemand {
	h.T.Helper()
	d, err := h.Engine.Demand(h.T.Context(), tenant)
	if err != nil {
		h.T.Fatal(err)
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
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models, h.Pool.Limit = false, nil, 0 })
	h.Open()
	engine.LookOften(h.Engine)
	one := h.Create(h.Upload(inputOf("m", "m", "m")))
	two := h.CreateFor(h.Upload(inputOf("n", "m", "n")), time.Hour)
	batchtest.Until(t, "both batches are counted", func() bool {
		d := h.demand()
		return d["m"].Lines == 4 && d["n"].Lines == 2
	})
	d := h.demand()
	if m := d["m"]; m.Batches != 2 || m.Validating != 2 || len(m.Deadlines) != 2 || m.Deadlines[0].Lines != 1 || m.Deadlines[0].Within != time.Hour {
		t.Errorf("demand of m is %+v, want two validating batches, one line within an hour", m)
	}
	if got := metricstest.Gather(t, h.Engine.Collector())["tidegate_batch_lines_waiting{model=other}"]; got != 6 { // no server has ever had the models
		t.Errorf("lines that wait are %v in the metrics, want 6", got)
	}
	for _, id := range []string{one, two} {
		if b := h.Get(id); b.Status != batch.Validating {
			t.Errorf("batch is %s, want validating", b.Status)
		}
	}
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = true, map[string]bool{"m": true, "n": true} })
	batchtest.Until(t, "both batches run", func() bool { return h.Get(one).Status == batch.InProgress && h.Get(two).Status == batch.InProgress })
	batchtest.Until(t, "they are demand of their models as before", func() bool {
		d := h.demand()
		return len(d) == 2 && d["m"].Lines == 4 && d["m"].Validating == 0 && d["n"].Lines == 2 && d["n"].Batches == 1
	})
	h.Pool.Set(func() { h.Pool.Limit = 10 })
	h.Wait(one)
	h.Wait(two)
	batchtest.Until(t, "nothing is left", func() bool { return len(h.demand()) == 0 })
}

// What is wrong with an input whose model is waited for is said at once.
func TestBadInputOfAModelWithoutServers(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = false, nil })
	h.Open()
	b := h.Wait(h.Create(h.Upload(inputOf("m") + "{}\n")))
	if b.Status != batch.Failed || len(b.Errors) == 0 || b.Errors[0].Line == nil || *b.Errors[0].Line != 2 {
		t.Errorf("batch is %s with %+v, want failed by line 2", b.Status, b.Errors)
	}
}

// Lines in flight of a batch of several models are of their models.
func TestDemandOfABatchOfSeveralModels(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	gate := make(chan struct{})
	h.Pool.Set(func() {
		h.Pool.Models, h.Pool.DownModels = map[string]bool{"m": true, "n": true}, map[string]bool{"n": true}
		h.Pool.Answer = batchtest.Behind(gate)
	})
	h.Open()
	engine.LookOften(h.Engine)
	id := h.Create(h.Upload(inputOf("m", "n", "m", "n", "n")))
	batchtest.Until(t, "the lines of m are in flight", func() bool {
		d := h.demand()
		return d["m"].Lines == 2 && d["m"].InFlight == 2 && d["n"].Lines == 3 && d["n"].InFlight == 0
	})
	close(gate)
	batchtest.Until(t, "those of n are left", func() bool {
		d := h.demand()
		_, m := d["m"]
		return (!m || d["m"].Lines == 0) && d["n"].Lines == 3
	})
	h.Pool.Set(func() { h.Pool.DownModels = nil })
	h.Wait(id)
}

// Demand does not use a look that is older than it promises. Metrics show such a look while
// the store hangs.
func TestDemandOfAStoreThatHangs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	store := &countingStore{Store: h.NewStore()}
	e := batchtest.NewEngine(h.Config, store, h.NewFiles(), h.Pool)
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Start()
	defer stopEngine(t, e)
	if _, err := e.Demand(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	store.blocked.Store(true)
	engine.AgeBacklog(e, 6*time.Second)
	if d, err := e.Demand(t.Context(), tenant); !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("demand of six seconds ago: got %+v, %v, want %v", d, err, batch.ErrUnavailable)
	}
	wantSeries(t, metricstest.Gather(t, e.Collector()), map[string]float64{"tidegate_batches{status=in_progress}": 0})
	store.blocked.Store(false)
	engine.AgeBacklog(e, 6*time.Second)
	if _, err := e.Demand(t.Context(), tenant); err != nil {
		t.Errorf("demand when the store answers again: %v", err)
	}
}

// A gateway that starts knows the speed of a model. It finds late batches by that speed,
// not by the last minute.
func TestSpeedAfterARestart(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Limit = 0 })
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(600)))
	batchtest.Until(t, "it runs", func() bool { return h.Get(id).Status == batch.InProgress })
	now, err := h.Store.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hourAgo := now.Add(-time.Hour).Truncate(time.Minute)
	end := hourAgo.Add(time.Minute - time.Microsecond)
	h.Store.LastMinute.Store(&batch.ModelMinute{Model: "m", At: hourAgo, Lines: 600, First: hourAgo, Began: end, Last: end})
	engine.LookOften(h.Engine)
	batchtest.Until(t, "the batch is demand", func() bool { return h.demand()["m"].Lines == 600 })
	m := h.demand()["m"]
	if m.LinesPerMinute == nil || *m.LinesPerMinute < 599 || *m.LinesPerMinute > 601 || m.Remaining == nil || *m.Remaining != time.Minute || m.AtRisk != 0 {
		t.Errorf("demand is %+v, want 600 lines per minute and a minute left", m)
	}
}

// A batch that begins is demand all the time, also while the scheduler's list of batches
// does not have it yet.
func TestDemandOfABatchThatBegins(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models, h.Pool.Limit = false, nil, 0 })
	h.Open()
	engine.LookOften(h.Engine)
	id := h.Create(h.Upload(inputOf("m", "m")))
	batchtest.Until(t, "the batch is counted", func() bool { return h.demand()["m"].Lines == 2 })
	h.Pool.Set(func() { h.Pool.Discovered, h.Pool.Models = true, map[string]bool{"m": true} })
	for h.Get(id).Status != batch.InProgress {
		if n := h.demand()["m"].Lines; n != 2 {
			t.Fatalf("demand is %d lines while the batch begins, want 2", n)
		}
	}
	if n := h.demand()["m"].Lines; n != 2 {
		t.Errorf("demand is %d lines when the batch has begun, want 2", n)
	}
}
