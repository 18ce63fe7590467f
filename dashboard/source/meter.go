package source

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

// meter makes rates of the usage that all gateways count: of how much it has
// grown within the window. It reads only while somebody asks.
type meter struct {
	read    func(ctx context.Context, now time.Time) (usage, error)
	started time.Time // when the gateway was

	mu      sync.Mutex
	samples []sample // guarded by mu; oldest first
}

const (
	meterWindow = 30 * time.Second // that rates are averages of
	meterStep   = 5 * time.Second  // between samples; gateways count about as often
)

// usage is what was counted, by bucket and class.
type usage map[cell]dashboard.Work

type cell struct {
	at    int64 // when the bucket begins, Unix seconds
	class string
}

type sample struct {
	at    time.Time
	usage usage
	grown map[string]dashboard.Work // by class, since the sample before
}

// rates returns what is done per second, and over what time that was measured: 0
// when it is not known yet.
func (m *meter) rates(ctx context.Context, now time.Time) (window time.Duration, live, batch dashboard.Rate, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := len(m.samples) - 1
	if last >= 0 && (now.Sub(m.samples[last].at) > meterWindow || now.Before(m.samples[last].at)) {
		m.samples, last = nil, -1 // nobody has asked for a while
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

// measured sums what was counted in which time: between the samples or, while
// there is one alone, in the bucket before the present one and in that one so
// far, so that a reader who asks once has figures as well. Of a young gateway only
// buckets since its start count: in the time before there may have been none. The
// time is 0 while that is too little.
func (m *meter) measured() (time.Duration, map[string]dashboard.Work) {
	sums := make(map[string]dashboard.Work)
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
				sums[c.class] = plus(sums[c.class], w)
			}
		}
		return first.at.Sub(from), sums
	}
	for _, s := range m.samples[1:] {
		for class, w := range s.grown {
			sums[class] = plus(sums[class], w)
		}
	}
	return m.samples[len(m.samples)-1].at.Sub(first.at), sums
}

// since is by how much usage has grown.
func (u usage) since(before usage) map[string]dashboard.Work {
	grown := make(map[string]dashboard.Work)
	for c, now := range u {
		then := before[c]
		grown[c.class] = plus(grown[c.class], dashboard.Work{
			Requests: now.Requests - then.Requests, Failures: now.Failures - then.Failures,
			InputTokens: now.InputTokens - then.InputTokens, OutputTokens: now.OutputTokens - then.OutputTokens,
		})
	}
	return grown
}

func plus(a, b dashboard.Work) dashboard.Work {
	return dashboard.Work{
		Requests: a.Requests + b.Requests, Failures: a.Failures + b.Failures,
		InputTokens: a.InputTokens + b.InputTokens, OutputTokens: a.OutputTokens + b.OutputTokens, CachedTokens: a.CachedTokens + b.CachedTokens,
	}
}

func perSecond(w dashboard.Work, window time.Duration) dashboard.Rate {
	if window <= 0 {
		return dashboard.Rate{}
	}
	s := window.Seconds()
	return dashboard.Rate{
		Requests: float64(w.Requests) / s, Failures: float64(w.Failures) / s,
		InputTokens: float64(w.InputTokens) / s, OutputTokens: float64(w.OutputTokens) / s,
	}
}

// recentUsage reads the buckets that the window may touch.
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

func workOf(p batch.UsagePoint) dashboard.Work {
	return dashboard.Work{
		Requests: p.Requests, Failures: p.Failures, InputTokens: p.Usage.InputTokens, OutputTokens: p.Usage.OutputTokens,
		CachedTokens: p.Usage.InputTokensDetails.CachedTokens,
	}
}

// bucket is how finely usage is counted.
const bucket = 15 * time.Minute
