package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/metricstest"
)

func wantSeries(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if have, there := got[name]; !there || have != value {
			t.Errorf("%s is %v (%v), want %v", name, have, there, value)
		}
	}
}

func TestMetricsOfWork(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	gate := make(chan struct{})
	h.Pool.Set(func() { h.Pool.Limit = 2; h.Pool.Answer = batchtest.Behind(gate) })
	h.Open()
	engine.LookOften(h.Engine)
	file := h.Upload(batchtest.Input(5))
	first, paused := h.Create(file), h.Create(file)
	h.Pause(paused)
	batchtest.Until(t, "two lines run and the other batch is paused", func() bool {
		got := metricstest.Gather(t, h.Engine.Collector())
		return got["tidegate_batch_lines_waiting{model=m}"] == 3 && got["tidegate_batches_paused{}"] == 1 && got["tidegate_batches{status=in_progress}"] == 2
	})
	got := metricstest.Gather(t, h.Engine.Collector())
	wantSeries(t, got, map[string]float64{
		"tidegate_batches{status=in_progress}": 2,
		"tidegate_batches{status=completed}":   0,
		"tidegate_batches_late{reason=slow}":   0,
		"tidegate_batches_expired_total{}":     0,
		"tidegate_batch_held_up{}":             0,
	})
	for _, name := range []string{"tidegate_batch_oldest_seconds{model=m}", "tidegate_files_space_bytes{kind=free}", "tidegate_store_operation_duration_seconds{operation=claim}", "tidegate_queue_operation_duration_seconds{operation=push}"} {
		if _, there := got[name]; !there {
			t.Errorf("%s is missing", name)
		}
	}
	d, err := h.Engine.Demand(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Models) != 1 || d.Models[0].Lines != 5 || d.Models[0].InFlight != 2 || d.Models[0].PausedLines != 5 {
		t.Errorf("demand is %+v, want 5 lines, 2 of them in flight, and 5 paused", d.Models)
	}
	if d, err := h.Engine.Demand(t.Context(), "rival"); err != nil || len(d.Models) != 0 {
		t.Errorf("demand of another tenant: got %+v and error %v, want none", d.Models, err)
	}
	close(gate)
	h.Check(h.Wait(first), 5)
	got = metricstest.Gather(t, h.Engine.Collector())
	wantSeries(t, got, map[string]float64{
		"tidegate_batch_line_duration_seconds{model=m}": 5,
		"tidegate_batch_lines_total{outcome=completed}": 5,
	})
	if commits := got["tidegate_batch_commits_total{}"]; got["tidegate_store_operation_duration_seconds{operation=commit}"] != commits {
		t.Errorf("%v commits were timed, want %v", got["tidegate_store_operation_duration_seconds{operation=commit}"], commits)
	}
	if u := h.Engine.Tokens()["m"]; u.InputTokens != 15 || u.OutputTokens != 10 {
		t.Errorf("tokens are %+v, want 15 of input and 10 of output", u)
	}
}

// A batch that is paused shortly before its deadline is late in the metrics of every
// gateway, and one that reaches its deadline is counted by the gateway that ended it.
func TestMetricsOfLateBatches(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{ExpireInterval: time.Millisecond})
	h.Pool.Set(func() { h.Pool.Limit = 0 })
	h.Open()
	engine.LookOften(h.Engine)
	file := h.Upload(batchtest.Input(1))
	h.Pause(h.CreateFor(file, 30*time.Minute))
	batchtest.Until(t, "the paused batch is late", func() bool {
		got := metricstest.Gather(t, h.Engine.Collector())
		return got["tidegate_batches_late{reason=paused}"] == 1 && got["tidegate_batches_late{reason=slow}"] == 0
	})
	h.CreateFor(file, time.Millisecond)
	batchtest.Until(t, "the other batch has expired", func() bool {
		got := metricstest.Gather(t, h.Engine.Collector())
		return got["tidegate_batches_expired_total{}"] == 1 && got["tidegate_batches{status=expired}"] == 1
	})
}

// countingStore counts looks at the backlog, and can block them.
type countingStore struct {
	batch.Store
	looks   atomic.Int64
	blocked atomic.Bool
}

func (s *countingStore) BatchStates(ctx context.Context, tenant string) (map[batch.Status]int64, error) {
	s.looks.Add(1)
	if s.blocked.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Store.BatchStates(ctx, tenant)
}

// The store is read at a limited rate, however often metrics are scraped. An engine that
// is not open does not read it.
func TestScrapesDoNotReachTheStore(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	store := &countingStore{Store: h.NewStore()}
	e := batchtest.NewEngine(h.Config, store, h.NewFiles(), h.Pool)
	metricstest.Gather(t, e.Collector())
	if _, err := e.Demand(t.Context(), tenant); !errors.Is(err, batch.ErrUnavailable) {
		t.Errorf("demand of an engine that is not open: %v, want %v", err, batch.ErrUnavailable)
	}
	if n := store.looks.Load(); n != 0 {
		t.Fatalf("an engine that is not open asked its store %d times", n)
	}
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Start()
	begun := time.Now()
	for range 100 {
		metricstest.Gather(t, e.Collector())
		if _, err := e.Demand(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	if most := 1 + int64(time.Since(begun)/(5*time.Second)); store.looks.Load() > most {
		t.Errorf("200 questions asked the store %d times, want %d at most", store.looks.Load(), most)
	}
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	metricstest.Gather(t, e.Collector())
}

// A store that hangs holds up no scrape for long, and what was seen last is shown.
func TestScrapeOfAStoreThatHangs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	store := &countingStore{Store: h.NewStore()}
	e := batchtest.NewEngine(h.Config, store, h.NewFiles(), h.Pool)
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Start()
	defer stopEngine(t, e)
	engine.LookOften(e)
	metricstest.Gather(t, e.Collector())
	store.blocked.Store(true)
	got := metricstest.Gather(t, e.Collector())
	wantSeries(t, got, map[string]float64{"tidegate_batches{status=in_progress}": 0})
}

func stopEngine(t *testing.T, e *engine.Engine) {
	t.Helper()
	if err := e.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}
