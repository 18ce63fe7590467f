package upstreams

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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

// TestWaitingLinesAreWithdrawn sends lines to a server that runs four requests and lets
// the others wait, among them a flex request.
func TestWaitingLinesAreWithdrawn(t *testing.T) {
	q := newQueueing(t)
	p := probedPool(t, calm(q.URL)) // the test is the prober: nothing else takes samples
	u := p.now.Load().upstreams[0]
	g := newGateway(t, p)
	const lines, waiting = 10, 6 // waiting: beside the flex request, which is the last but one
	results := make(chan error, lines)
	var flex sync.WaitGroup
	for i := range lines {
		s := reserve(t, p, "")
		before := q.arrived.Load()
		if i == lines-1 {
			flex.Go(func() { g.post(t, endpoint, `{"model":"m","line":100,"service_tier":"flex"}`) })
			until(t, "the flex request arrives", func() bool { return q.arrived.Load() > before })
			before++
		}
		go func() {
			defer s.Release()
			_, err := s.Send(t.Context(), endpoint, fmt.Appendf(nil, `{"model":"m","line":%d}`, i))
			results <- err
		}()
		until(t, "the line arrives", func() bool { return q.arrived.Load() > before })
	}
	q.waits.Store(waiting + 1)
	sample := func() {
		p.scrape(t.Context(), p.now.Load(), u)
		p.sampleLoad(u)
	}
	sample() // one sample may show requests that wait for the next step only
	if q.left.Load() != 0 {
		t.Fatalf("%d lines were withdrawn after one sample", q.left.Load())
	}
	sample()
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
	if n := u.withdrawn.Load(); n != waiting {
		t.Errorf("%d withdrawn lines were counted, want %d", n, waiting)
	}
	if n := u.failures[Batch].Load(); n != 0 {
		t.Errorf("%d failures of the server were counted, want none", n)
	}
	// The metrics still show the withdrawn lines: no other line is withdrawn for them.
	sample()
	sample()
	if n := q.left.Load(); n != waiting {
		t.Errorf("%d requests were withdrawn, want %d lines", n, waiting)
	}
	if s := statusOf(t, p, q.URL); s.Limit != 4 || s.LimitReason != LimitWaiting {
		t.Errorf("the limit is %d (%s), want 4, which the server runs", s.Limit, s.LimitReason)
	}
	q.CloseClientConnections()
	flex.Wait()
}

// The lines that wait are those that live requests and other gateways do not explain.
func TestLinesThatWait(t *testing.T) {
	for name, tt := range map[string]struct {
		running, waiting float64
		own, others      int // batch requests
		live             int
		want             int
	}{
		"lines":         {16, 112, 128, 0, 0, 112},
		"beside live":   {16, 20, 30, 0, 6, 14},
		"live alone":    {4, 8, 2, 0, 10, 0},
		"two gateways":  {16, 40, 14, 42, 0, 10},
		"other clients": {4, 90, 13, 0, 0, 9},
		"none waits":    {16, 0, 16, 0, 0, 0},
		"no lines":      {16, 112, 0, 0, 0, 0},
	} {
		s := loadSample{hasMetrics: true, running: tt.running, waiting: tt.waiting, batch: tt.own, lines: tt.own + tt.others, inFlight: tt.own + tt.others + tt.live}
		if got := waitingLines(s); got != tt.want {
			t.Errorf("%s: got %d lines, want %d", name, got, tt.want)
		}
	}
}
