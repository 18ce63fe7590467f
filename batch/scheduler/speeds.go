package scheduler

import "time"

const (
	// speedKept is the weight of earlier lines in the speed of an upstream when a line
	// has ended: about that of the last 16.
	speedKept = 15.0 / 16
	// speedLeast is the number of tokens after which a speed is known. Durations are in
	// whole milliseconds, so that lines of a few tokens make equal upstreams differ.
	speedLeast = 8
	// speedsMost limits the upstreams whose speeds are remembered. Beyond it they are
	// learned again.
	speedsMost = 1024
)

// seat is a model on an upstream.
type seat struct{ model, upstream string }

// speed has the average duration of lines on an upstream, and the average number of tokens
// that they generate.
type speed struct{ seconds, tokens float64 }

// perToken returns the seconds that a line takes for each token that it generates.
func (s *speed) perToken() float64 { return s.seconds / s.tokens }

// speeds are the speeds of lines on upstreams. Only the loop uses them.
type speeds map[seat]*speed

// of returns the speed of a model on an upstream, nil if it is not known.
func (s speeds) of(at seat) *speed {
	if known := s[at]; known != nil && known.tokens >= speedLeast {
		return known
	}
	return nil
}

// learn records a line that has ended.
func (s speeds) learn(at seat, took time.Duration, tokens int) {
	if took <= 0 || tokens <= 0 {
		return
	}
	known := s[at]
	if known == nil {
		if len(s) >= speedsMost {
			clear(s)
		}
		known = new(speed)
		s[at] = known
	}
	known.seconds = speedKept*known.seconds + took.Seconds()
	known.tokens = speedKept*known.tokens + float64(tokens)
}

// mean returns the mean of the seconds per token of the upstreams of a model, 1 if none is
// known.
func (s speeds) mean(model string) float64 {
	sum, n := 0.0, 0
	for at, known := range s {
		if at.model == model && s.of(at) != nil {
			sum += known.perToken()
			n++
		}
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}
