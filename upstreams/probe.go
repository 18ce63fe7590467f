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
		ok, told := p.probe(ctx, s, u, began.After(modelsDue))
		if ctx.Err() != nil {
			return
		}
		var next time.Duration
		if ok {
			if told {
				modelsDue = began.Add(s.cfg.ModelsInterval)
			}
			p.scrape(ctx, s, u)
			backoff = probeBackoff
			next = jittered(s.cfg.HealthInterval)
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

// badAnswer is an answer that a server which is well does not give.
type badAnswer struct {
	path    string
	status  int
	problem string
}

func (e *badAnswer) Error() string {
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
	bad, answered := errors.AsType[*badAnswer](err)
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
	status, header, _, err := s.get(ctx, u, healthRoute)
	switch {
	case err != nil:
		return false, fmt.Errorf("asking for health: %w", err)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return true, nil
	case status != http.StatusOK:
		return false, &badAnswer{path: healthRoute.target, status: status}
	case isHTML(header):
		return false, &badAnswer{path: healthRoute.target, status: status, problem: "an HTML page"}
	}
	return false, nil
}

// discover asks for the models and the version.
func (p *Pool) discover(ctx context.Context, s *snapshot, u *upstream) (*discovery, error) {
	status, _, body, err := s.get(ctx, u, modelsRoute)
	if err != nil {
		return nil, fmt.Errorf("asking for models: %w", err)
	}
	if status != http.StatusOK {
		bad := &badAnswer{path: modelsRoute.target, status: status}
		if status == http.StatusUnauthorized || status == http.StatusForbidden {
			bad.problem = "a refusal of the api_key"
		}
		return nil, bad
	}
	models, err := parseModels(body)
	if err != nil {
		return nil, &badAnswer{path: modelsRoute.target, status: status, problem: err.Error()}
	}
	found := &discovery{models: models}
	// Not every server tells its version, and none needs to.
	if status, _, body, err = s.get(ctx, u, versionRoute); err == nil && status == http.StatusOK {
		found.version = parseVersion(body)
	}
	return found, nil
}

// scrape reads u's own figures. Not every server has them, so that nothing
// follows from their absence.
func (p *Pool) scrape(ctx context.Context, s *snapshot, u *upstream) {
	timed, cancel := context.WithTimeout(ctx, s.cfg.HealthTimeout)
	defer cancel()
	var g gauges
	status, header, body, err := s.get(timed, u, metricsRoute)
	if err != nil {
		if c := p.log.Check(zap.DebugLevel, "reading metrics"); c != nil && ctx.Err() == nil {
			c.Write(zap.String("upstream", u.url), zap.Error(err))
		}
	} else if status == http.StatusOK && !isHTML(header) {
		g = parseGauges(body)
	}
	p.mu.Lock()
	u.gauges = g
	p.mu.Unlock()
}

// get asks an upstream for one of its own pages.
func (s *snapshot) get(ctx context.Context, u *upstream, rt *route) (status int, header http.Header, body []byte, err error) {
	header = http.Header{"User-Agent": userAgent, "Accept-Encoding": identity}
	if s.bearer != nil {
		header["Authorization"] = s.bearer
	}
	answer, err := s.out.keep.RoundTrip((&http.Request{
		Method: http.MethodGet, URL: u.urls[rt.index], Host: u.host, Header: header,
	}).WithContext(ctx))
	if err != nil {
		return 0, nil, nil, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(io.LimitReader(answer.Body, probeLimit))
	if err != nil {
		return 0, nil, nil, err
	}
	return answer.StatusCode, answer.Header, body, nil
}
