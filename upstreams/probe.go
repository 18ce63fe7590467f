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
	// probeGap is the least time between the beginnings of two probes of one
	// upstream, however many requests ask for one.
	probeGap = 50 * time.Millisecond
	// probeBackoff is when an upstream is probed again after a bad probe. It
	// doubles, up to Config.HealthInterval.
	probeBackoff = 100 * time.Millisecond
	// probeLimit bounds what is read of an answer to a probe.
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
		ok, told := p.probe(ctx, s, u, began.After(modelsDue) || u.rediscover.Swap(false))
		if ctx.Err() != nil {
			return
		}
		p.noteProbed()
		var next time.Duration
		if ok {
			if told {
				modelsDue = began.Add(s.cfg.ModelsInterval)
			}
			p.scrape(ctx, s, u)
			p.sampleLoad(u)
			backoff = probeBackoff
			next = jittered(s.cfg.HealthInterval)
			perhapsHung := p.sampleStillness(u)
			if _, batch := u.counts(); batch > 0 || perhapsHung {
				next = min(next, u.sampleInterval())
			}
			if p.outgrowing(u) {
				next = min(next, limitSample)
			}
		} else {
			modelsDue = time.Time{} // told anew on recovery
			next = jittered(min(backoff, s.cfg.HealthInterval))
			backoff = min(2*backoff, s.cfg.HealthInterval)
		}
		if !pause(ctx, probeGap-time.Since(began)) {
			return
		}
		timer.Reset(next)
	}
}

// jittered is d, give or take a tenth.
func jittered(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

// pause waits for d. It is false when ctx is done first.
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

// discovery is what an upstream tells of itself.
type discovery struct {
	models  []openai.Model
	version string
}

// badAnswerError is an answer that a server which is well does not give.
type badAnswerError struct {
	path    string
	status  int
	problem string
}

func (e *badAnswerError) Error() string {
	if e.problem != "" {
		return fmt.Sprintf("GET %s answers %d with %s", e.path, e.status, e.problem)
	}
	return fmt.Sprintf("GET %s answers %d", e.path, e.status)
}

// probe asks u how it is and takes note of it. ok says that it is well, told
// that it told its models.
func (p *Pool) probe(ctx context.Context, s *snapshot, u *upstream, models bool) (ok, told bool) {
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
	if p.own(err) {
		return false, false // which says nothing about u
	}
	p.advise(u, err)
	bad, answered := errors.AsType[*badAnswerError](err)
	switch {
	case answered:
		p.probeBad(u, err, u.progress.Load() != before, bad.status == http.StatusServiceUnavailable)
	case refused(err) || !timedOut(err) && broken(err):
		p.probeRefused(u, err)
	default:
		p.probeBad(u, err, u.progress.Load() != before, false)
	}
	return false, false
}

// checkHealth asks GET /health. healthless says that the server has no such
// route: then its models tell whether it is well.
func (p *Pool) checkHealth(ctx context.Context, s *snapshot, u *upstream) (healthless bool, err error) {
	told, err := s.get(ctx, u, healthRoute)
	switch {
	case err != nil:
		return false, fmt.Errorf("asking for health: %w", err)
	case hidesHealth(told.status):
		return true, nil
	case told.status != http.StatusOK:
		return false, &badAnswerError{path: u.urls[healthRoute.index].Path, status: told.status}
	case isHTML(told.header):
		return false, &badAnswerError{path: u.urls[healthRoute.index].Path, status: told.status, problem: "an HTML page"}
	}
	return false, nil
}

// hidesHealth reports whether a status says that a server, or a proxy before it,
// does not offer its health: it has no such route, or shows it to others.
func hidesHealth(status int) bool {
	return 400 <= status && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// discover asks for the models and the version.
func (p *Pool) discover(ctx context.Context, s *snapshot, u *upstream) (*discovery, error) {
	told, err := s.get(ctx, u, modelsRoute)
	if err != nil {
		return nil, fmt.Errorf("asking for models: %w", err)
	}
	if told.status != http.StatusOK {
		bad := &badAnswerError{path: u.urls[modelsRoute.index].Path, status: told.status}
		if told.status == http.StatusUnauthorized || told.status == http.StatusForbidden {
			bad.problem = "a refusal of the api_key"
		}
		return nil, bad
	}
	models, err := parseModels(told.body)
	if err != nil {
		return nil, &badAnswerError{path: u.urls[modelsRoute.index].Path, status: told.status, problem: err.Error()}
	}
	found := &discovery{models: models}
	// Not every server tells its version, and none needs to.
	if told, err = s.get(ctx, u, versionRoute); err == nil && told.status == http.StatusOK {
		found.version = parseVersion(told.body)
	}
	return found, nil
}

// scrape reads u's own figures. Not every server has them, so that nothing
// follows from their absence.
func (p *Pool) scrape(ctx context.Context, s *snapshot, u *upstream) {
	timed, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	var g gauges
	var f Facts
	read := false // what was told before stays when they cannot be read once
	told, err := s.get(timed, u, metricsRoute)
	if err != nil {
		if c := p.log.Check(zap.DebugLevel, "reading metrics"); c != nil && ctx.Err() == nil {
			c.Write(zap.String("upstream", u.url), zap.Error(err))
		}
	} else if told.status == http.StatusOK && !isHTML(told.header) {
		g, f = parseMetrics(told.body)
		read = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u.gauges, u.facts = g, f
	u.arrangePriority()
	if read && u.toldSeqs != f.seqs() {
		u.toldSeqs = f.seqs()
		p.publish()
	}
}

// sampleLoad has u's limiter see what is sent to it and what it says of itself.
func (p *Pool) sampleLoad(u *upstream) {
	live, batch := u.counts()
	otherLive, otherBatch := split(u.others.Load())
	p.mu.Lock()
	g := u.gauges
	s := loadSample{
		at: time.Now(), told: g.told, counted: g.counted, running: g.running, waiting: g.waiting, kvCache: g.kvCache, preempts: g.preempts,
		prompt: g.prompt, made: g.generated, step: float64(u.pace.step.Load()) / 1e9, gaps: g.intervals, gapTime: g.intervalTime,
		inFlight: live + batch + otherLive + otherBatch, batch: batch, done: u.pace.done.Load(), ceiling: u.maxSeqs, placed: u.purpose(),
	}
	limit := int64(u.limiter.step(s))
	u.limitWhy = u.limiter.why
	gateways := 1
	if otherBatch > 0 || !p.heard.Load() { // those without lines there do not count
		gateways += p.peers.Working
	}
	p.mu.Unlock()
	p.learnCapacity(u, u.limiter.hard, int(g.running))
	u.seats.sample(s.at, live+otherLive, u.limiter.hard > 0 || u.limiter.why == LimitCeiling)
	u.pace.learn(s.at, g, gateways, float64(s.inFlight) >= limitBinding*float64(limit), s.placed)
	if u.limit.Swap(limit) < limit {
		p.released()
	}
}

// sampleInterval is the time between two samples of a server with batch lines.
func (u *upstream) sampleInterval() time.Duration {
	if u.limiter.searching() {
		return limitSample
	}
	return limitWatch
}

// page is what an upstream answered when it was asked about itself.
type page struct {
	status int
	header http.Header
	body   []byte // at most probeLimit bytes
}

// get asks an upstream for one of its own pages.
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
