package tidegatetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sent is one request of a Load with its result.
type Sent struct {
	Body   []byte
	Stream bool
	Live   Live
	Took   time.Duration
}

// Check checks the response like Live.Check, and that it was the first attempt.
func (s Sent) Check() error {
	if s.Live.Resent > 0 {
		return fmt.Errorf("it was sent %d times in vain", s.Live.Resent)
	}
	return s.Live.Check(s.Body, s.Stream)
}

// Load is live traffic at a constant rate: requests are sent at their scheduled times,
// independent of earlier responses.
type Load struct {
	gateway *Gateway
	ask     func(i int) (body []byte, stream bool)
	stop    context.CancelFunc
	all     sync.WaitGroup // the sender and its requests
	ended   atomic.Int64

	mu   sync.Mutex
	sent []Sent // guarded by mu
}

// StartLoad sends rate requests per second until Stop or the end of the test. ask returns
// the ith one, counted from 0.
func (g *Gateway) StartLoad(tb testing.TB, rate int, ask func(i int) (body []byte, stream bool)) *Load {
	tb.Helper()
	sending, stop := context.WithCancel(context.Background())
	l := &Load{gateway: g, ask: ask, stop: stop}
	l.all.Go(func() { l.send(sending, time.Second/time.Duration(rate)) })
	tb.Cleanup(func() { l.Stop() })
	return l
}

func (l *Load) send(sending context.Context, interval time.Duration) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i++ {
		// Not with a ticker, which drops late ticks.
		timer.Reset(time.Until(start.Add(time.Duration(i) * interval)))
		select {
		case <-sending.Done():
			return
		case <-timer.C:
		}
		body, stream := l.ask(i)
		l.all.Go(func() { l.one(body, stream) })
	}
}

// requestLimit limits a request without a response.
const requestLimit = 60 * time.Second

func (l *Load) one(body []byte, stream bool) {
	ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
	defer cancel()
	start := time.Now()
	live := l.gateway.Chat(ctx, body, nil)
	s := Sent{Body: body, Stream: stream, Live: live, Took: time.Since(start)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = append(l.sent, s)
	l.ended.Add(1)
}

// WaitEnded waits until n more requests have ended.
func (l *Load) WaitEnded(tb testing.TB, n int) {
	tb.Helper()
	want := l.ended.Load() + int64(n)
	Eventually(tb, time.Minute, "live requests to end", func() bool { return l.ended.Load() >= want })
}

// Stop stops the load, waits for the requests in flight and returns all, in the order in
// which they ended.
func (l *Load) Stop() []Sent {
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}
