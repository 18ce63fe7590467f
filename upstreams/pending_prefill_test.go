package upstreams

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPrefillIsShown checks that the status and the metrics have what is pending on a
// server, and what is known of its speed.
func TestPrefillIsShown(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}}, func(t *testing.T, w *gpus) {
		registry := prometheus.NewPedanticRegistry()
		if err := registry.Register(w.pool.Collector()); err != nil {
			t.Fatal(err)
		}
		show := func() (s UpstreamStatus, pending, speed float64) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				switch f.GetName() {
				case "tidegate_upstream_pending_prefill_tokens":
					pending = f.GetMetric()[0].GetGauge().GetValue()
				case "tidegate_upstream_prefill_tokens_per_second":
					speed = f.GetMetric()[0].GetGauge().GetValue()
				}
			}
			return statusOf(t, w.pool, "http://0"), pending, speed
		}
		s, pending, speed := show()
		if s.PendingPrefillTokens != 0 || s.PendingPrefill != 0 || s.PrefillSpeed != 0 || s.TokenSeconds != 0 || len(s.CachedPrompts) != 0 || pending != 0 || speed != 0 {
			t.Errorf("before the first request: %+v, metrics %v and %v", s, pending, speed)
		}
		for i := range 3 {
			w.send(t, chat(fmt.Sprint("a", i), 500*(i+1), true))
		}
		if s, _, speed = show(); s.PrefillSpeed < 17000 || s.PrefillSpeed > 25000 || speed != s.PrefillSpeed {
			t.Errorf("%.0f tokens per second, %.0f in the metrics, want 20480", s.PrefillSpeed, speed)
		}
		if s.TokenSeconds < 0.007 || s.TokenSeconds > 0.009 {
			t.Errorf("%.4f s between tokens, want 0.0075", s.TokenSeconds)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.send(t, chat("b", 1000, true))
		}()
		pass(time.Millisecond)
		s, pending, _ = show()
		if s.PendingPrefillTokens < 800 || s.PendingPrefillTokens > 1100 || pending != float64(s.PendingPrefillTokens) {
			t.Errorf("%d tokens pending, %.0f in the metrics, want 1000", s.PendingPrefillTokens, pending)
		}
		if s.PendingPrefill < 0.035 || s.PendingPrefill > 0.065 {
			t.Errorf("%.3f s pending, want 0.05", s.PendingPrefill)
		}
		<-done
		if s, pending, _ = show(); s.PendingPrefillTokens != 0 || pending != 0 {
			t.Errorf("%d tokens pending, %.0f in the metrics, after the answer", s.PendingPrefillTokens, pending)
		}
	})
}

// TestCachedPromptsAreNotPending checks that the part of a prompt that a server has in
// its prefix cache is neither counted as pending nor waited for.
func TestCachedPromptsAreNotPending(t *testing.T) {
	for name, server := range map[string]gpu{
		"answers tell":                       {slower: 1},
		"answers tell, there are no metrics": {slower: 1, noMetrics: true},
		"only the metrics tell":              {slower: 1, noCached: true},
	} {
		t.Run(name, func(t *testing.T) {
			onGPUs(t, []gpu{server}, func(t *testing.T, w *gpus) {
				u := w.pool.upstreams[0]
				pending := func(text string) int64 {
					t.Helper()
					slot := reserve(t, w.pool, "")
					defer slot.Release()
					before := u.pace.order.Load()
					if _, err := slot.Send(t.Context(), endpoint, []byte(chat(text, 2000, false))); err != nil {
						t.Fatal(err)
					}
					return u.pace.order.Load() - before
				}
				w.send(t, chat("own", 300, true))
				if got := pending("first"); got < 1500 || got > 2500 {
					t.Errorf("%d tokens pending for a prompt that nothing is known of, want 2000", got)
				}
				for range 16 {
					pending("same")
					pass(6 * time.Second) // a look at the metrics
				}
				if got := pending("same"); got > 300 {
					t.Errorf("%d tokens pending for a prompt that is in the cache, want next to none", got)
				}
				pass(6 * time.Second)
				u.pace.learn(time.Now(), u.gauges, 1, true, ForBoth)
				if gap := time.Duration(u.pace.gap.Load()); gap > 30*time.Millisecond {
					t.Errorf("a pause of %v between lines from the cache, want much less than the 100 ms of a whole prompt", gap)
				}
				for i := range 16 {
					pending(fmt.Sprint("new", i))
					pass(6 * time.Second)
				}
				if got := pending("another"); got < 1500 {
					t.Errorf("%d tokens pending after prompts that were not in the cache, want 2000", got)
				}
			})
		})
	}
}

// TestUnseenPromptsEnd checks that an answer shows that all earlier prompts have been read,
// independent of the estimate.
func TestUnseenPromptsEnd(t *testing.T) {
	var p pace
	p.teach(time.Millisecond, 0, 0)
	a := p.beginUnseen(0, Batch, 100)
	b := p.beginPlain(0, 50)
	p.beginUnseen(0, Batch, 10)
	want := func(now int64, want time.Duration) {
		t.Helper()
		if got := time.Duration(p.pending(now)); got != want {
			t.Errorf("%v pending, want %v", got, want)
		}
	}
	want(0, 160*time.Millisecond)
	p.endUnseen(1e6, b)
	want(1e6, 10*time.Millisecond)
	p.endUnseen(2e6, a) // which is known since b
	want(2e6, 9*time.Millisecond)
	want(20e6, 0)
}

// TestPromptTokens checks the estimate of tokens from bytes.
func TestPromptTokens(t *testing.T) {
	type answer struct{ bytes, tokens int64 }
	for name, tt := range map[string]struct {
		answers []answer
		bytes   int64
		want    int64
	}{
		"nothing is known":              {nil, 400, 100},
		"an empty body":                 {nil, 0, 1},
		"requests of that size":         {[]answer{{1000, 200}}, 1100, 220},
		"requests of other sizes":       {[]answer{{100, 5}, {100000, 50000}}, 70000, 35000},
		"the nearest size":              {[]answer{{100, 5}, {100000, 50000}}, 250, 13},
		"images have a size of theirs":  {[]answer{{1000, 250}, {4 << 20, 1024}}, 1200, 300},
		"a large one after images":      {[]answer{{1000, 250}, {4 << 20, 1024}}, 8 << 20, 2048},
		"no tokens":                     {[]answer{{1000, 0}, {0, 10}}, 400, 100},
		"counts that cannot be of that": {[]answer{{1000, 1 << 30}, {1 << 30, 1}}, 400, 100},
		"the newest counts most": {
			[]answer{{1000, 250}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}, {1000, 500}},
			1000, 462,
		},
	} {
		var p promptTokens
		for _, a := range tt.answers {
			p.learn(a.bytes, a.tokens)
		}
		if got := p.estimate(tt.bytes); got != tt.want {
			t.Errorf("%s: %d tokens in %d bytes, want %d", name, got, tt.bytes, tt.want)
		}
	}
	if got := (*promptTokens)(nil).estimate(40); got != 10 {
		t.Errorf("%d tokens without a model, want 10", got)
	}
}
