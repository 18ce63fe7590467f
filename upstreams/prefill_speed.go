package upstreams

import (
	"math"
	"sync"
	"sync/atomic"
)

const (
	// speedAssumed is the time for a token of a prompt on a server of which nothing is
	// known, in nanoseconds: that of a small model on a recent GPU. It serves to tell
	// when prompts have been read, and never holds anything up.
	speedAssumed = 50e3
	// fitMemory is the weight that a sample keeps with each later one.
	fitMemory = 0.8
	// fitCaution is how many times the square of the mean the variance of prompt sizes
	// is raised by: prompts of nearly one size do not tell a time for each token from a
	// time for each prompt, and it is taken for the former.
	fitCaution = 0.02
	// fitLeast is the least part of the time of a prompt that its tokens take.
	fitLeast = 1.0 / 20
	// fitOutlier bounds a sample to this many times what it was expected to be: a
	// request may have waited behind others that this gateway does not see.
	fitOutlier = 4
	// gaugeWeight bounds the weight of one look at the server's own figures in
	// relation to a stream that passes.
	gaugeWeight = 5
)

// speed is what is known of how quickly a server reads prompts and generates. It is
// learned from the streams that pass, and corrected by the server's own figures.
type speed struct {
	perToken atomic.Uint64 // a float64: nanoseconds for a token of a prompt that is not cached; 0: not known
	step     atomic.Int64  // nanoseconds between two tokens of a request; 0: not known
	pool     atomic.Uint64 // a float64: perToken of the other servers of the pool; 0: not known

	mu      sync.Mutex
	streams fit // guarded by mu; prompts of streams that passed
	gauges  fit // guarded by mu; means of prompts between two looks at the server's figures
}

// known returns the nanoseconds for a token of a prompt, 0 when they are not known.
func (s *speed) known() float64 { return math.Float64frombits(s.perToken.Load()) }

// likely returns known, or else what is known of other servers, or 0.
func (s *speed) likely() float64 {
	if own := s.known(); own > 0 {
		return own
	}
	return math.Float64frombits(s.pool.Load())
}

// some returns likely, or else an assumption.
func (s *speed) some() float64 {
	if ns := s.likely(); ns > 0 {
		return ns
	}
	return speedAssumed
}

// passed takes in that the first token of a request came after ttft nanoseconds, that
// so many tokens of its prompt were not cached, and that its further tokens came
// interval nanoseconds apart, 0 when that is not known. alone reports that nothing
// else was to be read; otherwise the time says only that the server is no slower. It
// never waits: a sample that comes while another one is taken in is dropped.
func (s *speed) passed(tokens, ttft, interval float64, alone bool) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.takeStep(interval)
	if tokens <= 0 || ttft <= 0 {
		return
	}
	own := max(0, ttft-float64(s.step.Load())) // without the decoding in the same steps
	expected := s.streams.at(tokens)
	switch {
	case s.streams.w == 0 && !alone, !alone && own >= expected:
		return
	case s.streams.w > 0:
		own = min(own, fitOutlier*max(expected, 1e6))
	}
	s.streams.add(tokens, own, 1)
	s.gauges.fade()
	s.settle()
}

// told takes in the means of n requests that ended between two looks at the server's
// figures: tokens of the prompt that were not cached, and nanoseconds that these took.
func (s *speed) told(tokens, prefill, n float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gauges.add(tokens, prefill, min(n, gaugeWeight))
	s.streams.fade()
	s.settle()
}

// toldStep takes in the time between two tokens by the server's figures.
func (s *speed) toldStep(interval float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeStep(interval)
}

// takeStep takes in a time between two tokens. mu is held.
func (s *speed) takeStep(interval float64) {
	if interval > 0 {
		step := float64(s.step.Load())
		blend(&step, interval)
		s.step.Store(int64(step))
	}
}

// atMost takes in that so many tokens take no longer than so many nanoseconds.
func (s *speed) atMost(tokens, prefill float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch was := s.known(); {
	case was == 0:
		s.gauges.add(tokens, prefill, 1)
	case was*tokens > prefill:
		s.streams.scale(prefill / tokens / was)
		s.gauges.scale(prefill / tokens / was)
	}
	s.settle()
}

// settle makes the estimate of what both kinds of samples say, in relation to their
// weight. mu is held.
func (s *speed) settle() {
	a, b := s.streams.w, s.gauges.w
	if a+b > 0 {
		s.perToken.Store(math.Float64bits((a*s.streams.slope() + b*s.gauges.slope()) / (a + b)))
	}
}

// fit is a line through samples, of which the newer count more.
type fit struct {
	w, x, y float64 // weight, and means
	xx, xy  float64 // sums of squares and products about the means
}

// fade makes all samples count less.
func (f *fit) fade() {
	f.w *= fitMemory
	f.xx *= fitMemory
	f.xy *= fitMemory
}

// add takes a sample of a weight in.
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

// slope is the y for each x. Samples of one x give their ratio; it is never more, as
// no prompt takes less than nothing.
func (f *fit) slope() float64 {
	if f.w == 0 || f.x <= 0 {
		return 0
	}
	caution := fitCaution * f.x * f.x
	slope := (f.xy/f.w + caution*f.y/f.x) / (f.xx/f.w + caution)
	return min(max(slope, fitLeast*f.y/f.x), f.y/f.x)
}

// at is the y that is expected of an x.
func (f *fit) at(x float64) float64 { return max(0, f.y+f.slope()*(x-f.x)) }

// likenSpeeds has servers whose speed is not known taken for as quick as the others are
// on average: they are to get their part of the live requests, and not all of them.
// Pool.mu is held.
func (p *Pool) likenSpeeds() {
	sum, n := 0.0, 0
	for _, u := range p.upstreams {
		if perToken := u.pace.known(); perToken > 0 {
			sum += perToken
			n++
		}
	}
	mean := 0.0
	if n > 0 {
		mean = sum / float64(n)
	}
	for _, u := range p.upstreams {
		u.pace.pool.Store(math.Float64bits(mean))
	}
}
