package upstreams

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestHistogram checks that quantiles differ by at most a tenth, for any values.
func TestHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 19, 20, 1000} {
		for _, scale := range []time.Duration{time.Millisecond, 80 * time.Millisecond, 20 * time.Second} {
			var h, parts [2]histogram
			all := make([]time.Duration, n)
			for i := range all {
				all[i] = scale/2 + time.Duration(rng.ExpFloat64()*float64(scale))
				h[0].add(all[i])
				parts[i%2].add(all[i])
			}
			h[1].merge(&parts[0])
			h[1].merge(&parts[1])
			slices.Sort(all)
			for i, got := range []Latency{h[0].latency(), h[1].latency()} {
				for q, d := range map[float64]time.Duration{0.5: got.P50, 0.95: got.P95} {
					want := all[int(float64(n)*q+0.999999)-1]
					if off := float64(d)/float64(want) - 1; off < -0.1 || off > 0.1 {
						t.Errorf("histogram %d of %d around %v: quantile %v is %v, want %v", i, n, scale, q, d, want)
					}
				}
				if got.N != int64(n) {
					t.Errorf("%d are counted, want %d", got.N, n)
				}
			}
		}
	}
	var h histogram
	if got := h.latency(); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
	h.add(0)
	h.add(time.Hour)
	if got := h.latency(); got.P50 > histogramFirst || got.P95 < 5*time.Minute {
		t.Errorf("out of range: %+v", got)
	}
}

// Steps are averages of what was seen in them; those without a look are missed,
// and an hour is remembered.
func TestTelemetrySteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(telemetryStep - time.Duration(time.Now().UnixNano()%int64(telemetryStep))) // to the beginning of a step
		begun := time.Now()
		tel := &telemetry{begun: begun}
		told := gauges{present: true, running: 3, waiting: 6, kvCache: 0.5}
		for i := range 10 {
			g := told
			if i >= 5 {
				g = gauges{}
			}
			tel.sample(time.Now(), i, 2*i, g)
			tel.ended(Live)
			time.Sleep(time.Second)
		}
		tel.failed(Failure{Class: Batch, Message: "no"})
		tel.streamed(200*time.Millisecond, 0)
		time.Sleep(telemetryStep)
		tel.sample(time.Now(), 1, 1, gauges{})
		tel.ended(Live)
		time.Sleep(2 * telemetryStep)
		tel.mu.Lock()
		defer tel.mu.Unlock()
		type point struct {
			At                                 time.Duration
			Missed                             bool
			Live, Batch, Waiting, KVCacheUsage float64
			Requests, Failures, Streams        int64
		}
		points := func() (out []point) {
			for _, p := range tel.history(time.Now()) {
				out = append(out, point{p.At.Sub(begun), p.Missed, p.Live, p.Batch, p.Waiting, p.KVCacheUsage, p.Requests, p.Failures, p.TTFT.N})
			}
			return out
		}
		want := []point{
			{10 * time.Second, false, 4.5, 9, 6, 0.5, 10, 0, 0},
			{20 * time.Second, true, 0, 0, 0, 0, 0, 1, 1},
			{30 * time.Second, false, 1, 1, 0, 0, 1, 0, 0},
			{40 * time.Second, true, 0, 0, 0, 0, 0, 0, 0},
		}
		if diff := cmp.Diff(want, points()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r := tel.recent(time.Now())
		if r.Window != 40*time.Second || r.Requests != 11 || r.Failures != 1 || r.TTFT.N != 1 || r.ITL.N != 0 {
			t.Errorf("recent: %+v", r)
		}
		tel.mu.Unlock()
		time.Sleep(time.Hour)
		tel.sample(time.Now(), 7, 0, gauges{})
		time.Sleep(telemetryStep)
		tel.mu.Lock()
		all := points()
		if len(all) != telemetrySteps-1 || all[0].Requests != 0 || all[len(all)-1].Live != 7 || !all[len(all)-2].Missed {
			t.Errorf("after an hour: %d points, %+v … %+v", len(all), all[0], all[len(all)-1])
		}
		if r := tel.recent(time.Now()); r.Window != telemetryWindow || r.Requests != 0 {
			t.Errorf("recent after an hour: %+v", r)
		}
	})
}

// The newest failures are kept, and no more than the beginning of what they say.
func TestTelemetryFailures(t *testing.T) {
	var tel telemetry
	for i := range 3 * failuresKept {
		tel.failed(Failure{Status: i, Message: strings.Repeat("ü", failureLength) + "\xff"})
	}
	if len(tel.failures) != failuresKept || tel.failures[failuresKept-1].Status != 3*failuresKept-1 {
		t.Errorf("%d are kept, the last is %d", len(tel.failures), tel.failures[len(tel.failures)-1].Status)
	}
	if m := tel.failures[0].Message; len(m) > failureLength+len("…") || !utf8.ValidString(m) {
		t.Errorf("message of %d bytes, valid: %v", len(m), utf8.ValidString(m))
	}
}

// What servers do is remembered as what it is.
func TestTelemetry(t *testing.T) {
	f := newFake(t)
	p := startPool(t, calm(f.URL))
	g := newGateway(t, p)
	path := "/v1/chat/completions"
	fail := func(h http.HandlerFunc) {
		t.Helper()
		set(&f.serve, h)
		g.post(t, path, chatBody(model))
	}
	fail(answerJSON)
	fail(streamed(sseEvent, sseEvent, sseEvent, sseUsage, sseDone))
	fail(answerStatus(http.StatusInternalServerError, "application/json", `{"error":{"message":"oops"}}`))
	fail(answerStatus(http.StatusBadRequest, "application/json", `{"error":{"message":"yours"}}`))
	fail(thenCut(streamed(sseEvent)))
	slot, err := p.Reserve(model, "")
	if err != nil {
		t.Fatal(err)
	}
	set(&f.serve, answerStatus(http.StatusBadGateway, "text/html", "<html>"))
	if _, err := slot.Send(t.Context(), path, []byte(chatBody(model))); err != nil {
		t.Fatal(err)
	}
	slot.Release()
	wantIdle(t, p)
	told, ok := p.Telemetry(f.URL)
	if !ok {
		t.Fatal("nothing is remembered")
	}
	r := told.Recent
	if r.Requests != 6 || r.Failures != 3 || r.TTFT.N != 2 || r.ITL.N != 1 || r.TTFT.P50 <= 0 {
		t.Errorf("recent: %+v", r)
	}
	if diff := cmp.Diff(r, p.Recent()[f.URL], cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "Window" }, cmp.Ignore())); diff != "" {
		t.Errorf("(-telemetry +recent):\n%s", diff)
	}
	type failure struct {
		Class           Class
		Endpoint, Model string
		Status          int
		Says            bool
	}
	var failures []failure
	for _, e := range told.Failures {
		failures = append(failures, failure{e.Class, e.Endpoint, e.Model, e.Status, e.Message != ""})
	}
	want := []failure{{Batch, path, model, 502, true}, {Live, path, model, 0, true}, {Live, path, model, 500, true}}
	if diff := cmp.Diff(want, failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	// A reload keeps it; a server that is taken out takes it along.
	if err := p.Apply(calm(f.URL)); err != nil {
		t.Fatal(err)
	}
	if told, _ := p.Telemetry(f.URL); told.Recent.Requests != 6 {
		t.Errorf("after a reload: %+v", told.Recent)
	}
	other := newFake(t)
	if err := p.Apply(calm(other.URL)); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Telemetry(f.URL); ok {
		t.Error("what is gone is remembered")
	}
	if err := p.Apply(calm(f.URL)); err != nil {
		t.Fatal(err)
	}
	if told, _ := p.Telemetry(f.URL); told.Recent.Requests != 0 {
		t.Errorf("what came back has %+v", told.Recent)
	}
}

// The pool looks once a second while it runs, beside readers and requests.
func TestTelemetrySampled(t *testing.T) {
	f := newFake(t)
	p := startPool(t, quick(f.URL))
	g := newGateway(t, p)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 50 {
				p.Recent()
				p.Telemetry(f.URL)
			}
		})
	}
	for range 20 {
		g.post(t, "/v1/chat/completions", chatBody(model))
	}
	readers.Wait()
	p.sampleAll(time.Now())
	u := p.now.Load().upstreams[0]
	u.telemetry.mu.Lock()
	defer u.telemetry.mu.Unlock()
	samples, requests := int64(0), int64(0)
	for i := range u.telemetry.steps {
		samples += u.telemetry.steps[i].samples
		requests += u.telemetry.steps[i].requests[Live] + u.telemetry.steps[i].requests[Batch]
	}
	if samples == 0 || requests != 20 {
		t.Errorf("%d looks, %d requests", samples, requests)
	}
}
