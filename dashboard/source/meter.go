package source

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// meter computes rates of the usage that all gateways count from its growth within
// the window. It reads the usage only on demand.
type meter struct {
	read    func(ctx context.Context, now time.Time) (usage, error)
	started time.Time // start of the gateway

	mu      sync.Mutex
	samples []sample // guarded by mu; oldest first
}

const (
	meterWindow = 30 * time.Second // period of the averages
	meterStep   = 5 * time.Second  // between samples; gateways count about as often
)

// usage is the counted work by bucket and class.
type usage map[cell]templates.Work

type cell struct {
	at    int64 // start of the bucket, Unix seconds
	class string
}

type sample struct {
	at    time.Time
	usage usage
	grown map[string]templates.Work // by class, since the previous sample
}

// rates returns the work per second, and the period of the measurement: 0 if it is
// not known yet.
func (m *meter) rates(ctx context.Context, now time.Time) (window time.Duration, live, batch templates.Rate, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.samples) - 1
	if last >= 0 && (now.Sub(m.samples[last].at) > meterWindow || now.Before(m.samples[last].at)) {
		m.samples, last = nil, -1 // not read for a while
	}
	if last < 0 || now.Sub(m.samples[last].at) >= meterStep {
		u, err := m.read(ctx, now)
		if err != nil {
			return 0, live, batch, err
		}
		s := sample{at: now, usage: u}
		if last >= 0 {
			s.grown = u.since(m.samples[last].usage)
			m.samples[last].usage = nil
		}
		m.samples = append(m.samples, s)
		old := slices.IndexFunc(m.samples, func(s sample) bool { return now.Sub(s.at) <= meterWindow })
		m.samples = slices.Delete(m.samples, 0, max(0, old))
	}
	window, sums := m.measured()
	return window, perSecond(sums[upstreams.Live.String()], window), perSecond(sums[upstreams.Batch.String()], window), nil
}

// measured returns the work and its period: between the samples or, with only one
// sample, in the previous and the current bucket, so that a single read has results
// as well. For a recently started gateway only buckets since its start count, because
// there may have been no gateway before. The period is 0 if it is too short.
func (m *meter) measured() (time.Duration, map[string]templates.Work) {
	sums := make(map[string]templates.Work)
	first := m.samples[0]
	if len(m.samples) == 1 {
		from := first.at.Add(-bucket).Truncate(bucket)
		if from.Before(m.started) {
			from = m.started.Add(bucket - 1).Truncate(bucket)
		}
		if first.at.Sub(from) < meterStep {
			return 0, sums
		}
		for c, w := range first.usage {
			if c.at >= from.Unix() {
				sums[c.class] = sums[c.class].Plus(w)
			}
		}
		return first.at.Sub(from), sums
	}
	for _, s := range m.samples[1:] {
		for class, w := range s.grown {
			sums[class] = sums[class].Plus(w)
		}
	}
	return m.samples[len(m.samples)-1].at.Sub(first.at), sums
}

// since returns the growth of the usage.
func (u usage) since(before usage) map[string]templates.Work {
	grown := make(map[string]templates.Work)
	for c, now := range u {
		then := before[c]
		grown[c.class] = grown[c.class].Plus(templates.Work{
			Requests: now.Requests - then.Requests, Failures: now.Failures - then.Failures,
			InputTokens: now.InputTokens - then.InputTokens, OutputTokens: now.OutputTokens - then.OutputTokens,
		})
	}
	return grown
}

func perSecond(w templates.Work, window time.Duration) templates.Rate {
	if window <= 0 {
		return templates.Rate{}
	}
	s := window.Seconds()
	return templates.Rate{
		Requests: float64(w.Requests) / s, Failures: float64(w.Failures) / s,
		InputTokens: float64(w.InputTokens) / s, OutputTokens: float64(w.OutputTokens) / s,
	}
}

// recentUsage reads the buckets that overlap the window.
func (s *source) recentUsage(ctx context.Context, now time.Time) (usage, error) {
	points, err := s.analytics().UsageSeries(ctx, s.Tenant, "", batch.Period{From: now.Add(-meterWindow - bucket), To: now.Add(bucket), Step: bucket})
	if err != nil {
		return nil, err
	}
	u := make(usage, len(points))
	for _, p := range points {
		u[cell{p.At.Unix(), p.Class}] = workOf(p)
	}
	return u, nil
}

func workOf(p batch.UsagePoint) templates.Work {
	return templates.Work{
		Requests: p.Requests, Failures: p.Failures, InputTokens: p.Usage.InputTokens, OutputTokens: p.Usage.OutputTokens,
		CachedTokens: p.Usage.InputTokensDetails.CachedTokens,
	}
}

// bucket is the resolution of the counted usage.
const bucket = 15 * time.Minute
