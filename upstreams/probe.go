package upstreams

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// probeGap is the minimum time between the starts of two probes of one upstream,
	// however many requests ask for one.
	probeGap = 50 * time.Millisecond
	// probeBackoff is the delay before the next probe after a failed one. It doubles,
	// up to Config.HealthInterval.
	probeBackoff = 100 * time.Millisecond
	// probeLimit limits how much of an answer to a probe is read.
	probeLimit = 4 << 20
)

// watch probes u until ctx is done.
func (p *Pool) watch(ctx context.Context, u *upstream) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := probeBackoff
	var modelsDue time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-u.wake:
		}
		began := time.Now()
		s := p.now.Load()
		ok, discovered := p.probe(ctx, s, u, began.After(modelsDue) || u.rediscover.Swap(false))
		if ctx.Err() != nil {
			return
		}
		p.noteProbed()
		var next time.Duration
		if ok {
			if discovered {
				modelsDue = began.Add(s.cfg.ModelsInterval)
			}
			p.scrape(ctx, s, u)
			waited := p.sampleLoad(u)
			backoff = probeBackoff
			next = jittered(s.cfg.HealthInterval)
			perhapsHung := p.checkHang(u)
			_, batch := u.counts()
			often := batch > 0 || waited || perhapsHung
			u.sampled.Store(often)
			if often || u.linesWait() { // a line may have come before sampled was stored
				next = min(next, u.sampleInterval())
			}
			if p.outgrowing(u) {
				next = min(next, limitSample)
			}
		} else {
			modelsDue = time.Time{} // rediscover the models on recovery
			next = jittered(min(backoff, s.cfg.HealthInterval))
			backoff = min(2*backoff, s.cfg.HealthInterval)
		}
		if !pause(ctx, probeGap-time.Since(began)) {
			return
		}
		timer.Reset(next)
	}
}

// jittered returns d plus or minus up to a tenth.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

// pause waits for d. It returns false if ctx is done first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// discovery is the result of a model discovery.
type discovery struct {
	models  []openai.Model
	version string
}

// badAnswerError reports an answer that a healthy server does not return.
type badAnswerError struct {
	path    string
	status  int
	problem string
}

func (e *badAnswerError) Error() string {
	if e.problem != "" {
		return fmt.Sprintf("GET %s answered %d with %s", e.path, e.status, e.problem)
	}
	return fmt.Sprintf("GET %s answered %d", e.path, e.status)
}

// probe checks the health of u and records the result. ok reports whether it is
// healthy, discovered whether its models were discovered.
func (p *Pool) probe(ctx context.Context, s *snapshot, u *upstream, models bool) (ok, discovered bool) {
	before := u.progress.Load()
	timed, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	healthless, err := p.checkHealth(timed, s, u)
	var found *discovery
	if err == nil && (models || healthless) {
		found, err = p.discover(timed, s, u)
	}
	if ctx.Err() != nil {
		return false, false
	}
	if err == nil {
		p.probeOK(u, found)
		return true, found != nil
	}
	if p.isOwnShortage(err) {
		return false, false // it says nothing about u
	}
	bad, answered := errors.AsType[*badAnswerError](err)
	switch {
	case answered:
		p.probeBad(u, err, u.progress.Load() != before, bad.status == http.StatusServiceUnavailable)
	case refused(err) || !timedOut(err) && broken(err) || u.mayBeStopped() && unresolved(err):
		p.probeRefused(u, err)
	default:
		p.probeBad(u, err, u.progress.Load() != before, false)
	}
	p.setRemedy(u, err) // after the reason, so that no status has a remedy alone
	return false, false
}

// checkHealth requests GET /health. healthless reports that the server has no such
// route: then model discovery serves as its health check.
func (p *Pool) checkHealth(ctx context.Context, s *snapshot, u *upstream) (healthless bool, err error) {
	got, err := s.get(ctx, u, healthRoute)
	switch {
	case err != nil:
		return false, fmt.Errorf("asking for health: %w", err)
	case hidesHealth(got.status):
		return true, nil
	case got.status != http.StatusOK:
		return false, &badAnswerError{path: u.urls[healthRoute.index].Path, status: got.status}
	case isHTML(got.header):
		return false, &badAnswerError{path: u.urls[healthRoute.index].Path, status: got.status, problem: "an HTML page"}
	}
	return false, nil
}

// hidesHealth reports whether a status means that the server, or a proxy in front of
// it, does not expose its health: the route does not exist, or is restricted.
func hidesHealth(status int) bool {
	return 400 <= status && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// discover requests the models and the version.
func (p *Pool) discover(ctx context.Context, s *snapshot, u *upstream) (*discovery, error) {
	got, err := s.get(ctx, u, modelsRoute)
	if err != nil {
		return nil, fmt.Errorf("asking for models: %w", err)
	}
	if got.status != http.StatusOK {
		bad := &badAnswerError{path: u.urls[modelsRoute.index].Path, status: got.status}
		if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
			bad.problem = "a refusal of the api_key"
		}
		return nil, bad
	}
	models, err := parseModels(got.body)
	if err != nil {
		return nil, &badAnswerError{path: u.urls[modelsRoute.index].Path, status: got.status, problem: err.Error()}
	}
	found := &discovery{models: models}
	// The version is optional: not every server reports it.
	if got, err = s.get(ctx, u, versionRoute); err == nil && got.status == http.StatusOK {
		found.version = parseVersion(got.body)
	}
	return found, nil
}

// scrape reads u's metrics. They are optional: a server without metrics is not
// unhealthy.
func (p *Pool) scrape(ctx context.Context, s *snapshot, u *upstream) {
	timed, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	var g gauges
	var f Facts
	read := false // earlier settings are kept if reading fails once
	got, err := s.get(timed, u, metricsRoute)
	if err != nil {
		if c := p.log.Check(zap.DebugLevel, "reading metrics failed"); c != nil && ctx.Err() == nil {
			c.Write(zap.String("upstream", u.url), zap.Error(err))
		}
	} else if got.status == http.StatusOK && !isHTML(got.header) {
		g, f = parseMetrics(got.body)
		read = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if read {
		u.prefixes.update(&u.gauges, &g, &f)
	}
	u.gauges, u.facts = g, f
	u.updatePriority()
	if read && u.reportedSeqs != f.seqs() {
		u.reportedSeqs = f.seqs()
		p.publish()
	}
}

// sampleLoad passes u's load and its metrics to its limiter. It reports whether batch lines
// waited for u since the last sample.
func (p *Pool) sampleLoad(u *upstream) (waited bool) {
	live, batch := u.counts()
	otherLive, otherBatch := split(u.others.Load())
	p.mu.Lock()
	g := u.gauges
	s := loadSample{
		at: time.Now(), hasMetrics: g.present, hasTokens: g.hasTokens, running: g.running, waiting: g.waiting, kvCache: g.kvCache, preempts: g.preempts,
		prompt: g.prompt, made: g.generated, step: float64(u.pace.interval.Load()) / 1e9, gaps: g.intervals, gapTime: g.intervalTime,
		inFlight: live + batch + otherLive + otherBatch, batch: batch, wanted: u.wanted.Swap(false), lines: batch + otherBatch, done: u.pace.done.Load(), ceiling: u.maxSeqs, placed: u.placement(), quiet: u.quiet.Load(),
	}
	limit := int64(u.limiter.observe(s))
	u.limitWhy = u.limiter.why
	gateways := 1
	if otherBatch > 0 || !p.peersKnown.Load() { // gateways without lines there do not count
		gateways += p.peers.Working
	}
	p.mu.Unlock()
	p.learnCapacity(u, u.limiter.hard, int(g.running))
	u.liveReserve.sample(s.at, live+otherLive, u.limiter.hard > 0 || u.limiter.why == LimitCeiling)
	heldBack := u.pace.learn(s.at, g, gateways, float64(s.inFlight) >= limitBinding*float64(limit), s.placed)
	switch {
	case u.limiter.woken:
		p.withdraw(u, s, notRunning(s))
	case u.limiter.queued:
		p.withdraw(u, s, waitingLines(s))
	}
	if s.quiet && !s.at.Before(u.limiter.stale) {
		u.pace.noteWaiting(u.age(), g.waiting)
	}
	if u.limit.Swap(limit) < limit {
		p.released()
	}
	return s.wanted || heldBack
}

// sampleInterval returns the time between two samples of a server for which batch lines run
// or wait.
func (u *upstream) sampleInterval() time.Duration {
	if u.limiter.searching() {
		return limitSample
	}
	return limitWatch
}

// page is the answer to a probe.
type page struct {
	status int
	header http.Header
	body   []byte // at most probeLimit bytes
}

// get requests one of the routes that probes use.
func (*snapshot) get(ctx context.Context, u *upstream, rt *route) (page, error) {
	way := u.access.Load()
	ctx = withReserve(ctx)
	answer, err := way.out.keep.RoundTrip((&http.Request{
		Method: http.MethodGet, URL: u.urls[rt.index], Host: u.host, Header: way.probeHeader(),
	}).WithContext(ctx))
	if err != nil {
		return page{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, probeLimit))
	if err != nil {
		return page{}, err
	}
	return page{answer.StatusCode, answer.Header, body}, nil
}
