package engine_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/internal/openai"
)

// limitedPool is a pool of a gateway whose clients have limits.
type limitedPool struct {
	*batchtest.Pool
	limiter *limits.Limiter
}

func (p limitedPool) Capabilities() batch.DispatcherCapabilities {
	c := p.Pool.Capabilities()
	c.Limits = p.limiter
	return c
}

// startBudgeted starts an engine, whose limiter has a budget of 100 tokens for the tenant.
func startBudgeted(t *testing.T, cfg batch.Config, store batch.Store, files batch.Files, pool *batchtest.Pool) (*engine.Engine, *limits.Limiter) {
	t.Helper()
	limiter := limits.New(nil)
	limiter.Apply(limits.Config{Tenants: map[string]access.Limits{tenant: {TokensPerMonth: 100}}})
	e := engine.NewEngine(cfg, store, memory.New(), files, limitedPool{pool, limiter}, zap.NewNop())
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.Start()
	return e, limiter
}

func stop(t *testing.T, e *engine.Engine) {
	t.Helper()
	if err := e.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func used(l *limits.Limiter) (tokens string, complete bool) {
	b := l.Usage()[0].Budgets["tokens_per_month"]
	return b.Used.String(), b.Complete
}

// What one gateway has used counts on another on the same store, and after a restart. While
// the store is away, what is known remains.
func TestBudgetsAreShared(t *testing.T) {
	t.Parallel()
	c := batchtest.NewCluster(t, batch.Config{}, 0)
	start := func() (*engine.Engine, *limits.Limiter) {
		return startBudgeted(t, batch.Config{}, c.Store, c.Files, batchtest.NewPool())
	}
	first, _ := start()
	second, limiter := start()
	defer stop(t, second)
	client := limits.Client{Key: "key_a", Tenant: tenant}
	live := batch.UsageRecord{Tenant: tenant, KeyID: client.Key, Class: batch.ClassLive, Model: "m", Requests: 1, Usage: openai.Usage{InputTokens: 40, OutputTokens: 20, TotalTokens: 60}}
	first.RecordUsage(live)
	stop(t, first) // writes it
	batchtest.Until(t, "the other gateway knows the use", func() bool { tokens, _ := used(limiter); return tokens == "60" })
	if _, r := limiter.Admit(client, limits.Spend{Tokens: 41}); r == nil || !r.Exhausted() {
		t.Errorf("got %v, want a refusal by what the other gateway has used", r)
	}
	second.RecordUsage(live)
	if tokens, complete := used(limiter); tokens != "120" || !complete {
		t.Errorf("got %s used, complete %t, want 120 at once", tokens, complete)
	}
	c.Store.Away.Store(true)
	if _, r := limiter.Admit(client, limits.Spend{}); r == nil {
		t.Error("got a request admitted while the store is away, want what is known to count")
	}
	c.Store.Away.Store(false)
	// Every read contains all that was written, and nothing counts twice.
	batchtest.Until(t, "the use is written", func() bool {
		report, err := c.Store.KeyUsage(t.Context(), tenant, batch.UsageQuery{From: time.Now().Add(-48 * time.Hour), To: time.Now().Add(48 * time.Hour), Limit: 1})
		return err == nil && report.Total.TotalTokens() == 120
	})
	if tokens, _ := used(limiter); tokens != "120" {
		t.Errorf("after the write: got %s used, want 120", tokens)
	}
	restarted, again := start()
	defer stop(t, restarted)
	if tokens, complete := used(again); tokens != "120" || !complete {
		t.Errorf("after a restart: got %s used, complete %t, want 120 from the store", tokens, complete)
	}
}

// lostAnswer is a store that makes batches, or does not, and answers with an error.
type lostAnswer struct {
	batch.Store
	made bool
}

func (s *lostAnswer) CreateBatch(ctx context.Context, n batch.NewBatch) (batch.Batch, bool, error) {
	if s.made {
		if _, _, err := s.Store.CreateBatch(ctx, n); err != nil {
			return batch.Batch{}, false, err
		}
	}
	return batch.Batch{}, false, batch.ErrUnavailable
}

// A batch counts for batches_per_hour if it was made and only the answer was lost.
func TestLostAnswerCounts(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{true, false} {
		h := newHarness(t, batch.Config{})
		limiter := limits.New(nil)
		limiter.Apply(limits.Config{Tenants: map[string]access.Limits{tenant: {BatchesPerHour: 5}}})
		e := engine.NewEngine(h.Config, &lostAnswer{h.NewStore(), made}, memory.New(), h.NewFiles(), limitedPool{h.Pool, limiter}, zap.NewNop())
		if err := e.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.Start()
		h.Adopt(e)
		input := h.Upload(batchtest.Input(1))
		_, err := e.CreateBatch(t.Context(), tenant, batch.CreateRequest{InputFileID: input, Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour})
		if !errors.Is(err, batch.ErrUnavailable) {
			t.Errorf("made %t: got %v, want the error of the store", made, err)
		}
		want := int64(5)
		if made {
			want = 4
		}
		if left := limiter.Usage()[0].Remaining["batches_per_hour"]; left != want {
			t.Errorf("made %t: got %d batches left, want %d", made, left, want)
		}
	}
}

// Lines wait when a budget is used up, and run when it is raised; a new batch is refused
// until then. Every line counts once.
func TestBatchWaitsForBudget(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 4})
	h.Store = batchtest.NewHookedStore(h.NewStore())
	e, limiter := startBudgeted(t, h.Config, h.Store, h.NewFiles(), h.Pool)
	h.Adopt(e)
	id := h.Create(h.Upload(batchtest.Input(50)))
	var b batch.Batch
	batchtest.Until(t, "the batch waits", func() bool {
		b = h.Get(id)
		return strings.HasPrefix(e.WaitReason(t.Context(), b), "budget of the tenant: tokens_per_month is 100, ")
	})
	if n := b.Counts.Completed; n == 0 || n == 50 {
		t.Errorf("got %d lines completed, want some", n)
	}
	limiter.Spent(limits.Client{Tenant: tenant}, limits.Spend{Tokens: 100}) // the rest, by others
	_, err := e.CreateBatch(t.Context(), tenant, batch.CreateRequest{InputFileID: b.InputFileID, Endpoint: b.Endpoint, CompletionWindow: "24h", Window: 24 * time.Hour})
	if reached, ok := errors.AsType[*limits.ReachedError](err); !ok || reached.Kind != limits.TokensPerMonth {
		t.Errorf("new batch: got %v, want it refused by the budget", err)
	}
	limiter.Apply(limits.Config{Tenants: map[string]access.Limits{tenant: {TokensPerMonth: 1_000_000}}})
	if b = h.Wait(id); b.Status != batch.Completed || b.Counts.Completed != 50 {
		t.Fatalf("got %s with %+v, want all lines completed", b.Status, b.Counts)
	}
	want := b.Usage.InputTokens + b.Usage.OutputTokens
	batchtest.Until(t, "the use is that of the store", func() bool {
		budget := limiter.Usage()[0].Budgets["tokens_per_month"]
		return budget.Used.String() == strconv.FormatInt(want, 10) && budget.Reserved.String() == "0"
	})
}
