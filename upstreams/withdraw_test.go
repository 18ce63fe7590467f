package upstreams

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// queueing is a server that runs some requests and lets the others wait, in order of
// arrival, for ever.
type queueing struct {
	*fake
	arrived, left atomic.Int64
	waits         atomic.Int64 // as reported
	lost          chan string  // bodies of requests whose client has left
}

func newQueueing(t *testing.T) *queueing {
	q := &queueing{fake: newFake(t), lost: make(chan string, 100)}
	set(&q.serve, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "live") {
			answerJSON(w, r)
			return
		}
		q.arrived.Add(1)
		<-r.Context().Done()
		q.left.Add(1)
		q.lost <- string(body)
	})
	set(&q.figures, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "vllm:num_requests_running 4\nvllm:num_requests_waiting %d\nvllm:prompt_tokens_total 1\nvllm:generation_tokens_total 1\n", q.waits.Load())
	})
	return q
}

// withdrawn sends lines to a queueing server of which it reports six as waiting, and then
// a live request. It returns the lines that were withdrawn.
func TestLiveRequestWithdrawsWaitingLines(t *testing.T) {
	q := newQueueing(t)
	p := startPool(t, calm(q.URL))
	const lines, waiting = 10, 6
	results := make(chan error, lines)
	for i := range lines {
		s := reserve(t, p, "")
		go func() {
			defer s.Release()
			_, err := s.Send(t.Context(), endpoint, fmt.Appendf(nil, `{"model":"m","line":%d}`, i))
			results <- err
		}()
		until(t, "the line arrives", func() bool { return q.arrived.Load() == int64(i+1) })
	}
	q.waits.Store(waiting)
	u := p.now.Load().upstreams[0]
	sample := func() {
		p.scrape(t.Context(), p.now.Load(), u)
		p.sampleLoad(u)
	}
	sample() // one sample may show requests that wait for the next step only
	if q.left.Load() != 0 {
		t.Fatalf("%d lines were withdrawn without a live request", q.left.Load())
	}
	g := newGateway(t, p)
	if a := g.post(t, endpoint, `{"model":"m","live":1}`); a.status != http.StatusOK {
		t.Fatalf("the live request got %d %s", a.status, a.body)
	}
	for range waiting {
		body := receive(t, "a line is withdrawn", q.lost)
		var line int
		if _, err := fmt.Sscanf(body, `{"model":"m","line":%d}`, &line); err != nil || line < lines-waiting {
			t.Errorf("line %s was withdrawn, want only the %d that were sent last", body, waiting)
		}
		send, ok := errors.AsType[*SendError](receive(t, "its result", results))
		if !ok || send.Sent || !errors.Is(send, errWithdrawn) {
			t.Errorf("got %+v, want an error that uses up no retry", send)
		}
	}
	if n := u.failures[Batch].Load(); n != 0 {
		t.Errorf("%d failures of the server were counted, want none", n)
	}
	// The metrics still show the withdrawn lines: no other line is withdrawn for them.
	sample()
	g.post(t, endpoint, `{"model":"m","live":2}`)
	if n := q.left.Load(); n != waiting {
		t.Errorf("%d lines were withdrawn, want %d", n, waiting)
	}
	if s := statusOf(t, p, q.URL); s.Limit != 4 || s.LimitReason != LimitWaiting {
		t.Errorf("the limit is %d (%s), want 4, which the server runs", s.Limit, s.LimitReason)
	}
	q.CloseClientConnections()
}

// The lines that wait are those that live requests and other gateways do not explain.
func TestLinesThatWait(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		sample         loadSample
		own, live      int
		sinceWithdrawn time.Duration
		want           int
	}{
		"lines":          {loadSample{hasMetrics: true, running: 16, waiting: 112, batch: 128}, 128, 0, time.Hour, 112},
		"beside live":    {loadSample{hasMetrics: true, running: 16, waiting: 20, batch: 30}, 30, 6, time.Hour, 14},
		"live alone":     {loadSample{hasMetrics: true, running: 4, waiting: 8, batch: 2}, 2, 10, time.Hour, 0},
		"two gateways":   {loadSample{hasMetrics: true, running: 16, waiting: 40, batch: 56}, 14, 0, time.Hour, 10},
		"between steps":  {loadSample{hasMetrics: true, running: 64, waiting: 3, batch: 67}, 67, 0, time.Hour, 0},
		"one":            {loadSample{hasMetrics: true, running: 4, waiting: 1, batch: 5}, 5, 0, time.Hour, 0},
		"no metrics":     {loadSample{running: 4, waiting: 9, batch: 13}, 13, 0, time.Hour, 0},
		"other clients":  {loadSample{hasMetrics: true, running: 4, waiting: 90, batch: 13}, 13, 0, time.Hour, 9},
		"just withdrawn": {loadSample{hasMetrics: true, running: 16, waiting: 112, batch: 16}, 16, 0, time.Second, 0},
		"no lines":       {loadSample{hasMetrics: true, running: 16, waiting: 112}, 0, 0, time.Hour, 0},
	} {
		q := serverQueue{withdrawn: now.Add(-tt.sinceWithdrawn)}
		tt.sample.at, tt.sample.inFlight = now, tt.sample.batch+tt.live
		q.observe(tt.sample, tt.own, tt.live)
		if q.waiting != tt.want {
			t.Errorf("%s: got %d lines, want %d", name, q.waiting, tt.want)
		}
	}
}
