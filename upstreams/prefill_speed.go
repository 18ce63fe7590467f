package upstreams

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// speedAssumed is the assumed time per prompt token on an unmeasured server, in
	// nanoseconds: that of a small model on a recent GPU. It is used to estimate when
	// prompts are prefilled, and never delays requests.
	speedAssumed = 50e3
	// speedAlike is the ratio of two speeds up to which the difference counts as noise.
	speedAlike = 1.3
	// speedFaster limits the speed that a server counts with, as a multiple of the median
	// of the pool. An estimate from few prompts, as after a start under load, can be far too
	// low: such a server would get most requests, which would wait there.
	speedFaster = 2
	// fitMemory is the factor by which the weight of a sample decays with each later
	// one.
	fitMemory = 0.8
	// fitCaution raises the variance of prompt sizes by this multiple of the squared
	// mean: with prompts of nearly equal size, a time per token cannot be told from a
	// time per prompt, and is attributed to tokens.
	fitCaution = 0.02
	// fitLeast is the minimum part of the time of a prompt that is attributed to its
	// tokens.
	fitLeast = 1.0 / 20
	// fitOutlier limits a sample to this multiple of its expected value: a request may
	// have waited behind others that are not visible to this gateway.
	fitOutlier = 4
	// gaugeWeight limits the weight of one sample of the server's metrics relative to
	// a relayed stream.
	gaugeWeight = 5
)

// speed estimates how fast a server prefills and decodes, from relayed streams and
// from the server's own metrics.
type speed struct {
	perToken atomicFloat  // nanoseconds per uncached prompt token; 0: not known
	decode   atomic.Int64 // nanoseconds of a step without prefill; 0: not known
	interval atomic.Int64 // nanoseconds between two tokens of a request; 0: not known
	pool     *poolSpeed   // of the servers of the pool; nil: the server has no pool

	mu      sync.Mutex
	streams fit // guarded by mu; prompts of relayed streams
	gauges  fit // guarded by mu; mean prompts between two samples of the server's metrics
}

// poolSpeed is the median of the estimates of a pool's servers, which share it. It is
// known as soon as one estimate is: otherwise a server without one would count as free of
// pending prefill, beside servers that have one, and would get all requests.
type poolSpeed struct{ perToken atomicFloat } // nanoseconds; 0: not known

// begin sets the speed to the estimate of a server if none is known.
func (p *poolSpeed) begin(estimate float64) {
	if p != nil {
		p.perToken.bits.CompareAndSwap(0, math.Float64bits(estimate))
	}
}

// load returns the nanoseconds per prompt token, 0 if not known.
func (p *poolSpeed) load() float64 {
	if p == nil {
		return 0
	}
	return p.perToken.load()
}

// estimate returns the nanoseconds per prompt token, 0 if not known.
func (s *speed) estimate() float64 { return s.perToken.load() }

// estimateOrPool returns the estimate, or the speed of the pool if the server has none
// or differs from it by less than speedAlike: with long prompts, differences between
// the estimates of equal servers would otherwise count more than what is pending there.
// It is at least a speedFaster-th of that of the pool.
func (s *speed) estimateOrPool() float64 {
	own, pool := s.estimate(), s.pool.load()
	if own > 0 && (own > speedAlike*pool || own*speedAlike < pool) {
		return max(own, pool/speedFaster)
	}
	return pool
}

// estimateOrDefault returns estimateOrPool, or else speedAssumed.
func (s *speed) estimateOrDefault() float64 {
	if ns := s.estimateOrPool(); ns > 0 {
		return ns
	}
	return speedAssumed
}

// addStream adds a sample of a stream: its time to first token, the number of
// uncached prompt tokens, the number of those that were pending when it was sent, -1 if
// that is not known, and the interval between its tokens, 0 if not known; times are in
// nanoseconds. A prompt that was sent beside others is prefilled after some of the pending
// ones: it counts only if it took less time than its own tokens are expected to take, or
// more than all of them. addStream never blocks: a sample that arrives while another one
// is being added is dropped.
func (s *speed) addStream(tokens, pending, ttft, interval float64) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.blendInterval(interval)
	if tokens <= 0 || ttft <= 0 {
		return
	}
	step := float64(s.interval.Load())
	if decode := float64(s.decode.Load()); decode > 0 {
		step = min(step, decode)
	}
	if ttft < step/paceAlike {
		return // the steps have changed
	}
	own := max(0, ttft-step) // without the decoding in the same steps
	if pending != 0 {
		switch {
		case s.streams.w == 0:
			return
		case own < s.streams.at(tokens):
		case pending > 0 && own > s.streams.at(tokens+pending):
			tokens += pending
		default:
			return
		}
	}
	if s.streams.w > 0 {
		own = min(own, fitOutlier*max(s.streams.at(tokens), 1e6))
	}
	s.streams.add(tokens, own, 1)
	s.gauges.fade()
	s.updateEstimate()
}

// addGauges adds the means of n requests that ended between two samples of the
// server's metrics: the uncached prompt tokens, and the nanoseconds of their prefill.
func (s *speed) addGauges(tokens, prefill, n float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gauges.add(tokens, prefill, min(n, gaugeWeight))
	s.streams.fade()
	s.updateEstimate()
}

// addGaugeInterval adds the time between two tokens by the server's metrics.
func (s *speed) addGaugeInterval(interval float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blendInterval(interval)
}

// blendInterval adds a time between two tokens. mu is held.
func (s *speed) blendInterval(interval float64) {
	if interval > 0 {
		step := float64(s.interval.Load())
		blend(&step, interval)
		s.interval.Store(int64(step))
	}
}

// atMost lowers the estimate so that the tokens take no longer than prefill
// nanoseconds.
func (s *speed) atMost(tokens, prefill float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch was := s.estimate(); {
	case was == 0:
		s.gauges.add(tokens, prefill, 1)
	case was*tokens > prefill:
		s.streams.scale(prefill / tokens / was)
		s.gauges.scale(prefill / tokens / was)
	}
	s.updateEstimate()
}

// updateEstimate computes the estimate from both kinds of samples, by weight. mu is
// held.
func (s *speed) updateEstimate() {
	a, b := s.streams.w, s.gauges.w
	if a+b > 0 {
		estimate := (a*s.streams.slope() + b*s.gauges.slope()) / (a + b)
		s.perToken.store(estimate)
		s.pool.begin(estimate)
	}
}

// fit is a linear regression with exponentially decaying weights.
type fit struct {
	w, x, y float64 // weight, and means
	xx, xy  float64 // sums of squares and products about the means
}

// fade reduces the weight of all samples.
func (f *fit) fade() {
	f.w *= fitMemory
	f.xx *= fitMemory
	f.xy *= fitMemory
}

// add adds a sample with a weight.
func (f *fit) add(x, y, weight float64) {
	f.fade()
	f.w += weight
	part := weight / f.w
	dx, dy := x-f.x, y-f.y
	f.x += part * dx
	f.y += part * dy
	f.xx += weight * (1 - part) * dx * dx
	f.xy += weight * (1 - part) * dx * dy
}

// scale multiplies all y.
func (f *fit) scale(by float64) {
	f.y *= by
	f.xy *= by
}

// slope returns the slope of the line. It is limited by the ratio of the means,
// because no prompt has a negative fixed cost, and equals it if all samples have the
// same x.
func (f *fit) slope() float64 {
	if f.w == 0 || f.x <= 0 {
		return 0
	}
	caution := fitCaution * f.x * f.x
	slope := (f.xy/f.w + caution*f.y/f.x) / (f.xx/f.w + caution)
	return min(max(slope, fitLeast*f.y/f.x), f.y/f.x)
}

// at returns the expected y for an x.
func (f *fit) at(x float64) float64 { return max(0, f.y+f.slope()*(x-f.x)) }

// updatePoolSpeed sets the speed of the pool to the median of the servers whose speed is
// known. If none is known, it remains. Pool.mu is held.
func (p *Pool) updatePoolSpeed() {
	var known []float64
	for _, u := range p.upstreams {
		if perToken := u.pace.estimate(); perToken > 0 {
			known = append(known, perToken)
		}
	}
	if n := len(known); n > 0 {
		slices.Sort(known)
		p.prefillSpeed.perToken.store((known[(n-1)/2] + known[n/2]) / 2)
	}
}
