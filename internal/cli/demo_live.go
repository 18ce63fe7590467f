package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// The demo's live load: requests per second, which vary periodically, and the
// maximum number in flight.
const (
	liveRateMean   = 4.0
	liveRateSwing  = 3.0
	liveTide       = time.Minute
	liveInFlight   = 64
	liveMaxTokens  = 48
	liveTTFTsKept  = 4096
	liveRequestMax = time.Minute
)

// liveLoad sends streamed chat requests to a gateway, as users would.
type liveLoad struct {
	server, model string
	client        http.Client
	wg            sync.WaitGroup
	cancel        context.CancelFunc

	mu     sync.Mutex
	ttfts  []time.Duration // guarded by mu; the last liveTTFTsKept
	sent   int             // guarded by mu
	failed int             // guarded by mu
}

// startLive starts the load. stop ends it.
func startLive(ctx context.Context, server, model string) *liveLoad {
	ctx, cancel := context.WithCancel(ctx)
	l := &liveLoad{server: server, model: model, cancel: cancel}
	l.client.Transport = &http.Transport{MaxIdleConnsPerHost: liveInFlight}
	l.wg.Go(func() { l.run(ctx) })
	return l
}

// stop ends the load and waits for its requests.
func (l *liveLoad) stop() {
	l.cancel()
	l.wg.Wait()
	l.client.CloseIdleConnections()
}

func (l *liveLoad) run(ctx context.Context) {
	began := time.Now()
	places := make(chan struct{}, liveInFlight)
	for {
		rate := liveRateMean + liveRateSwing*math.Sin(2*math.Pi*float64(time.Since(began))/float64(liveTide))
		timer := time.NewTimer(time.Duration(rand.ExpFloat64() / rate * float64(time.Second))) // arrivals are a Poisson process
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case places <- struct{}{}:
			l.wg.Go(func() {
				l.request(ctx)
				<-places
			})
		default: // the maximum number is in flight
		}
	}
}

func (l *liveLoad) request(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, liveRequestMax)
	defer cancel()
	body := fmt.Sprintf(`{"model":%q,"stream":true,"stream_options":{"include_usage":true},"max_tokens":%d,"messages":[{"role":"user","content":"Question %d: when is high tide?"}]}`, l.model, liveMaxTokens, rand.IntN(1000))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.server+"/v1/chat/completions", bytes.NewReader([]byte(body)))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	ttft, err := l.firstByte(request, begun)
	if ctx.Err() != nil {
		return // the demo ends
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	if err != nil {
		l.failed++
		return
	}
	if len(l.ttfts) == liveTTFTsKept {
		l.ttfts = l.ttfts[1:]
	}
	l.ttfts = append(l.ttfts, ttft)
}

// firstByte sends a request, reads its response, and returns the time to the first byte.
func (l *liveLoad) firstByte(request *http.Request, begun time.Time) (time.Duration, error) {
	answer, err := l.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", answer.StatusCode)
	}
	text := bufio.NewReader(answer.Body)
	if _, err := text.Peek(1); err != nil {
		return 0, err
	}
	ttft := time.Since(begun)
	_, err = io.Copy(io.Discard, text)
	return ttft, err
}

// summary formats the latencies and failures of the load.
func (l *liveLoad) summary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := fmt.Sprintf("live beside it: %s, %d failed", count(l.sent, "request", "requests"), l.failed)
	if len(l.ttfts) > 0 {
		sorted := slices.Sorted(slices.Values(l.ttfts))
		at := func(q float64) time.Duration {
			return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(time.Millisecond)
		}
		text += fmt.Sprintf(", first byte after %s at the median, %s at the 95th percentile", at(0.5), at(0.95))
	}
	return text
}
