package upstreams

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// errWithdrawn is the cause of cancelling a batch line that waited in a server.
var errWithdrawn = errors.New("the line waited in the server and was withdrawn")

// withdrawPause is the time after a withdrawal during which the waiting requests that a
// server reports are ignored: they may be those that were withdrawn.
const withdrawPause = 2 * time.Second

// waitingLines returns how many batch requests of this gateway wait in a server: its
// part of the waiting requests that live requests of any gateway do not explain.
func waitingLines(s loadSample) int {
	if s.lines == 0 {
		return 0
	}
	live := s.inFlight - s.lines
	return s.ownLines(min(int(s.waiting)-live, s.inFlight-int(s.running)))
}

// notRunning returns how many batch requests of this gateway are in a server that does not
// run them, including those that it does not report as waiting yet: metrics are those of
// its last step.
func notRunning(s loadSample) int {
	if s.lines == 0 {
		return 0
	}
	live := s.inFlight - s.lines
	return s.ownLines(s.inFlight - int(s.running) - live)
}

// ownLines returns this gateway's part of a number of batch requests.
func (s *loadSample) ownLines(n int) int { return min(s.batch, max(0, n)*s.batch/s.lines) }

// withdraw cancels n batch lines in a server that has no room for them, or that gets its
// first live request after a quiet time: the ones that were sent last, because vLLM runs
// requests in order of arrival. They use up no retry and run later. The next live request
// would wait behind them. A line that the server begins just before loses what was
// computed of it.
func (p *Pool) withdraw(u *upstream, s loadSample, n int) {
	if n == 0 {
		return
	}
	u.limiter.stale = s.at.Add(withdrawPause)
	n = u.flights.withdraw(n)
	u.withdrawn.Add(int64(n))
	u.pace.beginAgain(u.age())
	p.log.Debug("batch lines that waited in an upstream were withdrawn", zap.String("upstream", u.url), zap.Int("lines", n))
}

// withdraw cancels the batch lines among the n batch requests that were sent last, and
// returns their number.
func (l *flights) withdraw(n int) (cancelled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := l.first; f != nil && n > 0; f = f.next {
		if f.line || f.flex {
			n--
		}
		if f.line {
			f.cancel(errWithdrawn)
			cancelled++
		}
	}
	return cancelled
}
