package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

func TestPoisson(t *testing.T) {
	all := poisson(1, 10*time.Second, 110*time.Second, 50)
	if n := len(all); n < 4700 || n > 5300 {
		t.Errorf("%d arrivals in 100 s at 50 a second", n)
	}
	for i, at := range all {
		if at < 10*time.Second || at >= 110*time.Second || i > 0 && at < all[i-1] {
			t.Fatalf("arrival %d at %s", i, at)
		}
	}
	if diff := cmp.Diff(all, poisson(1, 10*time.Second, 110*time.Second, 50)); diff != "" {
		t.Errorf("the same seed draws others:\n%s", diff)
	}
}

func TestBursts(t *testing.T) {
	windows := bursts(30*time.Second, 2, 10*time.Second, 2*time.Second)
	if got, want := windows, []window{{38 * time.Second, 40 * time.Second}, {48 * time.Second, 50 * time.Second}}; got[0] != want[0] || got[1] != want[1] {
		t.Errorf("bursts at %v, want %v", got, want)
	}
	inside := 0
	all := withBursts(1, 50*time.Second, 100, 4, windows)
	for _, at := range all {
		if windows[0].holds(at) || windows[1].holds(at) {
			inside++
		}
	}
	if outside := len(all) - inside; inside < 1450 || inside > 1750 || outside < 4300 || outside > 4900 {
		t.Errorf("%d arrivals in 4 s of bursts and %d in 46 s between them, want about 1600 and 4600", inside, outside)
	}
}

func TestTimesOf(t *testing.T) {
	ms := time.Millisecond
	all := []sent{
		{at: time.Second, ttft: 10 * ms, gaps: []time.Duration{5 * ms, 7 * ms}},
		{at: 2 * time.Second, ttft: 30 * ms, gaps: []time.Duration{9 * ms}},
		{at: 3 * time.Second, ttft: 500 * ms, gaps: []time.Duration{500 * ms}},
	}
	got, err := timesOf(all, window{0, 3 * time.Second})
	if want := (liveTimes{Requests: 2, TTFT50: 30, TTFT99: 30, ITL50: 7, ITL99: 9}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := timesOf(all, window{5 * time.Second, 6 * time.Second}); err == nil {
		t.Error("an empty window has times")
	}
	// Tokens at 1.010, 1.015, 1.022; 2.030, 2.039; 3.5, 4.
	if got := tokensIn(all, window{1015 * ms, 2039 * ms}); got != 3 {
		t.Errorf("%g tokens in the window, want 3", got)
	}
}

// TestProse checks the number of tokens of requests.
func TestProse(t *testing.T) {
	for _, tokens := range []int{200, 300} {
		body := prose("name-000001", tokens, 100, true)
		if !json.Valid(body) || (len(body)+3)/4 != tokens {
			t.Errorf("%d tokens, want %d: %s", (len(body)+3)/4, tokens, body)
		}
	}
}

// TestKneeOf checks that twice as many lines as at the knee would produce 2^0.4 times the
// tokens, with the formula of a step, not with the one that kneeOf solves.
func TestKneeOf(t *testing.T) {
	spec := engine.Specs[simulatedEngine]
	knee := kneeOf(spec, 200, 200, 1000)
	rate := func(n float64) float64 {
		step := spec.StepTime(0, 0, 0).Seconds() + n*(spec.StepTime(1, 300, 0)-spec.StepTime(0, 0, 0)).Seconds()
		prefill := n * (spec.StepTime(0, 0, 200) - spec.StepTime(0, 0, 0)).Seconds()
		return n * 200 / (200*step + prefill)
	}
	n := float64(knee)
	if got := (rate(n*1.01)/rate(n) - 1) / 0.01; got < 0.39 || got > 0.41 {
		t.Errorf("elasticity %.3f at %d, want 0.4", got, knee)
	}
	if got := kneeOf(spec, 200, 200, 64); got != 64 {
		t.Errorf("knee %d of 64 places", got)
	}
}

func TestKneeIsFoundWhenTheLimitStays(t *testing.T) {
	p := kneePhase{Knee: 100, Samples: []kneeSample{{1, 100, "", 0}, {2, 120, "", 0}, {5, 96, "", 0}, {19, 110, "", 0}, {25, 104, "", 0}}}
	p.judge()
	if p.Found != 5 || p.AtGoal != 1.1 || p.AtEnd != 1.04 {
		t.Errorf("found after %g, %g after 20 s, %g at the end", p.Found, p.AtGoal, p.AtEnd)
	}
	p.Samples = append(p.Samples, kneeSample{30, 94, "", 0})
	if p.judge(); p.Found != -1 {
		t.Errorf("found after %g though the limit left again", p.Found)
	}
}
