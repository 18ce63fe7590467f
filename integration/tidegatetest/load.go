package tidegatetest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Sent is one request of a Load and what came of it.
type Sent struct {
	Body   []byte
	Stream bool
	Live   Live
	Took   time.Duration
}

// Check tells what is wrong with the answer, as Live.Check does, or that it
// took a second try.
func (s Sent) Check() error {
	if s.Live.Resent > 0 {
		return fmt.Errorf("it was sent %d times in vain", s.Live.Resent)
	}
	return s.Live.Check(s.Body, s.Stream)
}

// Load is live traffic at a steady rate: requests are sent when their time has
// come, whether or not earlier ones were answered.
type Load struct {
	gateway *Gateway
	ask     func(i int) (body []byte, stream bool)
	stop    context.CancelFunc
	all     sync.WaitGroup // the sender and its requests
	ended   atomic.Int64

	mu   sync.Mutex
	sent []Sent // guarded by mu
}

// StartLoad sends rate requests a second until Stop, at the latest until the
// test ends. ask says what the ith one is, counted from 0.
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
		// By the clock and not by a ticker, which drops what it is late for.
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

// requestLimit bounds a request whose answer never comes.
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

// Stop sends nothing more, waits for the requests that are under way and gives
// all, in the order in which they ended.
func (l *Load) Stop() []Sent {
	l.stop()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}
