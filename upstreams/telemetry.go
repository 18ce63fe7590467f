package upstreams

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Latency summarizes N durations. Quantiles are never less than the true values, and
// at most a tenth more.
type Latency struct {
	N        int64
	P50, P95 time.Duration
}

// Recent summarizes an upstream over the last Window, for this gateway.
type Recent struct {
	// Window is the last minute, or less if the upstream was added later.
	Window             time.Duration
	Requests, Failures int64   // attempts that ended, of both classes
	TTFT               Latency // from the arrival of a live request to the first event of its stream
	ITL                Latency // between the tokens of a live stream, one average for each stream
}

// TelemetryPoint summarizes an upstream in one step. The numbers of requests in
// flight (this gateway's), Waiting and KVCacheUsage (0 to 1; both from the server's
// metrics) are averages. Missed is true if nothing was measured.
type TelemetryPoint struct {
	At                                 time.Time // end of the step
	Missed                             bool
	Live, Batch, Waiting, KVCacheUsage float64
	Requests, Failures                 int64 // attempts that ended
	TTFT, ITL                          Latency
}

// Failure is a failed attempt at an upstream.
type Failure struct {
	At       time.Time
	Class    Class
	Endpoint string
	Model    string
	Status   int    // of the answer, 0 if there was none
	Message  string // at most failureLength bytes
}

// Telemetry is the history of an upstream.
type Telemetry struct {
	Recent   Recent
	Step     time.Duration
	History  []TelemetryPoint // oldest first
	Failures []Failure        // newest first
}

const (
	telemetryStep   = 10 * time.Second
	telemetrySteps  = 360 // an hour
	telemetryWindow = time.Minute
	telemetrySample = time.Second // interval between samples of the requests in flight

	failuresKept  = 50
	failureLength = 500 // bytes
)

// telemetry stores the history of one upstream, in memory of a fixed size.
type telemetry struct {
	mu       sync.Mutex
	begun    time.Time                  // guarded by mu
	steps    [telemetrySteps]stepRecord // guarded by mu; a ring indexed by the number of the step
	failures []Failure                  // guarded by mu; oldest first
}

// stepRecord is one step.
type stepRecord struct {
	number                 int64    // of the step since the Unix epoch; a different number means that the entry is unused
	requests, failures     [2]int64 // by Class
	samples, metricSamples int64    // samples of the requests in flight, and those with server metrics
	live, batch            int64    // sums over samples
	waiting, kvCache       float64
	ttft, itl              histogram
}

// at returns the record of the step at now. mu is held.
func (t *telemetry) at(now time.Time) *stepRecord {
	number := now.UnixNano() / int64(telemetryStep)
	s := &t.steps[number%telemetrySteps]
	if s.number != number {
		*s = stepRecord{number: number}
	}
	return s
}

// ended counts an attempt.
func (t *telemetry) ended(class Class) {
	now := time.Now()
	t.mu.Lock()
	t.at(now).requests[class]++
	t.mu.Unlock()
}

// failed counts an attempt as failed and stores the failure.
func (t *telemetry) failed(f Failure) {
	if len(f.Message) > failureLength {
		cut := failureLength
		for !utf8.RuneStart(f.Message[cut]) {
			cut--
		}
		f.Message = f.Message[:cut] + "…"
	}
	f.Message, f.Model = strings.ToValidUTF8(f.Message, "\uFFFD"), strings.Clone(f.Model)
	f.At = time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at(f.At).failures[f.Class]++
	if len(t.failures) == failuresKept {
		t.failures = slices.Delete(t.failures, 0, 1)
	}
	t.failures = append(t.failures, f)
}

// streamed records the latencies of a live stream; an itl of 0 is not known.
func (t *telemetry) streamed(ttft, itl time.Duration) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.at(now)
	s.ttft.add(ttft)
	if itl > 0 {
		s.itl.add(itl)
	}
}

// sample records a sample of the requests in flight and of the server's metrics.
func (t *telemetry) sample(now time.Time, live, batch int, g gauges) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.at(now)
	s.samples++
	s.live += int64(live)
	s.batch += int64(batch)
	if g.present {
		s.metricSamples++
		s.waiting += g.waiting
		s.kvCache += g.kvCache
	}
}

// recent sums the steps of the last window. mu is held.
func (t *telemetry) recent(now time.Time) Recent {
	r := Recent{Window: min(telemetryWindow, now.Sub(t.begun))}
	var ttft, itl histogram
	first := now.Add(-telemetryWindow).UnixNano()/int64(telemetryStep) + 1
	for number := first; number <= now.UnixNano()/int64(telemetryStep); number++ {
		s := &t.steps[number%telemetrySteps]
		if s.number != number {
			continue
		}
		r.Requests += s.requests[Live] + s.requests[Batch]
		r.Failures += s.failures[Live] + s.failures[Batch]
		ttft.merge(&s.ttft)
		itl.merge(&s.itl)
	}
	r.TTFT, r.ITL = ttft.latency(), itl.latency()
	return r
}

// history returns the completed steps since the upstream was added. mu is held.
func (t *telemetry) history(now time.Time) []TelemetryPoint {
	last := now.UnixNano()/int64(telemetryStep) - 1
	first := max(last-telemetrySteps+2, t.begun.UnixNano()/int64(telemetryStep))
	points := make([]TelemetryPoint, 0, max(0, last-first+1))
	for number := first; number <= last; number++ {
		p := TelemetryPoint{At: time.Unix(0, (number+1)*int64(telemetryStep))}
		s := &t.steps[number%telemetrySteps]
		if s.number != number {
			s = &stepRecord{}
		}
		p.Missed = s.samples == 0
		p.Requests, p.Failures = s.requests[Live]+s.requests[Batch], s.failures[Live]+s.failures[Batch]
		p.TTFT, p.ITL = s.ttft.latency(), s.itl.latency()
		if s.samples > 0 {
			p.Live, p.Batch = float64(s.live)/float64(s.samples), float64(s.batch)/float64(s.samples)
		}
		if s.metricSamples > 0 {
			p.Waiting, p.KVCacheUsage = s.waiting/float64(s.metricSamples), s.kvCache/float64(s.metricSamples)
		}
		points = append(points, p)
	}
	return points
}

// Recent returns the summary of the last minute of every upstream, by URL.
func (p *Pool) Recent() map[string]Recent {
	now := time.Now()
	all := make(map[string]Recent)
	for _, u := range p.now.Load().upstreams {
		t := &u.telemetry
		t.mu.Lock()
		all[u.url] = t.recent(now)
		t.mu.Unlock()
	}
	return all
}

// Telemetry returns the history of an upstream; ok is false if the pool has no
// upstream with that URL.
func (p *Pool) Telemetry(url string) (told Telemetry, ok bool) {
	now := time.Now()
	for _, u := range p.now.Load().upstreams {
		if u.url != url {
			continue
		}
		t := &u.telemetry
		t.mu.Lock()
		defer t.mu.Unlock()
		told = Telemetry{Recent: t.recent(now), Step: telemetryStep, History: t.history(now), Failures: slices.Clone(t.failures)}
		slices.Reverse(told.Failures)
		return told, true
	}
	return Telemetry{}, false
}

// sample records the requests in flight every telemetrySample until ctx ends.
func (p *Pool) sample(ctx context.Context) {
	ticker := time.NewTicker(telemetrySample)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.sampleAll(now)
		}
	}
}

func (p *Pool) sampleAll(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.upstreams {
		live, batch := u.counts()
		u.telemetry.sample(now, live, batch, u.gauges)
	}
	p.updatePoolSpeed()
}
