package upstreams

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// errWithdrawn is the cause of cancelling a batch line that waited in a server.
var errWithdrawn = errors.New("the line waited in the server and was withdrawn")

// withdrawPause is how long after a withdrawal the waiting requests that a server
// reports are ignored: they may be those that were withdrawn.
const withdrawPause = 2 * time.Second

// serverQueue counts the batch lines of this gateway that wait in a server. Live requests
// would wait behind them.
type serverQueue struct {
	waiting   int       // guarded by Pool.mu; lines, by the last sample
	running   int       // guarded by Pool.mu; requests, by the last sample
	withdrawn time.Time // guarded by Pool.mu; last withdrawal
}

// observe records a sample. ownBatch and live are requests in flight on the server: batch
// lines of this gateway, and live requests of all.
func (q *serverQueue) observe(s loadSample, ownBatch, live int) {
	q.waiting, q.running = 0, int(s.running)
	if !s.hasMetrics || !long(s) || s.at.Sub(q.withdrawn) < withdrawPause || s.batch == 0 {
		return
	}
	// Waiting requests may be live ones, or lines of other gateways.
	lines := max(0, min(int(s.waiting)-live, s.inFlight-int(s.running)))
	q.waiting = min(ownBatch, lines*ownBatch/s.batch)
}

// withdraw cancels the batch lines that wait in a server, the ones that were sent last,
// because vLLM runs requests in order of arrival. They use up no retry and run later. The
// limit of the server becomes what it runs, so that they are not sent there again.
func (p *Pool) withdraw(u *upstream) {
	if !u.linesWait.Load() {
		return
	}
	p.mu.Lock()
	n, running := u.serverQueue.waiting, u.serverQueue.running
	u.serverQueue.waiting = 0
	if n > 0 {
		u.serverQueue.withdrawn = time.Now()
	}
	p.mu.Unlock()
	u.linesWait.Store(false)
	if n == 0 {
		return
	}
	u.full.Store(int64(max(limitFloor, running)))
	for limit := u.limit.Load(); limit > int64(running) && !u.limit.CompareAndSwap(limit, int64(max(limitFloor, running))); limit = u.limit.Load() {
	}
	n = u.flights.withdraw(n)
	u.pace.beginAgain(u.age())
	p.log.Debug("batch lines that waited in an upstream were withdrawn", zap.String("upstream", u.url), zap.Int("lines", n))
}

// markLine marks f as a batch line, which may be withdrawn.
func (l *flights) markLine(f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.line = true
}

// withdraw cancels up to n batch lines, the newest first, and returns their number.
func (l *flights) withdraw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	cancelled := 0
	for f := l.first; f != nil && cancelled < n; f = f.next {
		if f.line {
			f.cancel(errWithdrawn)
			cancelled++
		}
	}
	return cancelled
}
