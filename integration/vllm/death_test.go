package vllm

import (
	"bytes"
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// downLimit limits the time until a server without its engine exits and the gateway detects
// it.
const downLimit = 2 * time.Minute

// When an engine dies the server answers all that is in flight with an error and
// exits. Requests that had no answer yet are answered by the other server, streams
// that had begun are cut without a false [DONE], and a batch loses no line.
func (s *suite) deadEngine(t *testing.T) {
	gateway := s.serve(t)
	const n = 300
	bodies := make([]body, n)
	for i := range bodies {
		bodies[i] = chat(fmt.Sprintf("Line %d of a batch that loses a server.", i), 16)
	}
	input := lines(bodies)
	b := gateway.Submit(t, input)
	gateway.WaitCompleted(t, b.ID, n/20, batchLimit)
	streams := startStreams(t, gateway, 4)
	before := upstreams(t, gateway)
	index := 0 // of the server that has most of the streams
	for i, u := range before {
		if u.Live > before[index].Live {
			index = i
		}
	}
	dying := s.servers[index]

	type result struct {
		answer
		err error
	}
	direct, plain := make(chan result, 1), make(chan result, 4)
	send := func(to chan<- result, url string) {
		got, err := post(t.Context(), url, chatPath, chat("In flight.", longAnswer))
		to <- result{got, err}
	}
	go send(direct, dying.URL)
	for range cap(plain) {
		go send(plain, gateway.URL)
	}
	tidegatetest.Eventually(t, metricsLimit, "all live requests to run", func() bool {
		m := metrics(t, s.servers...)
		return m[running]+m[waiting] >= float64(1+cap(plain)+4)
	})
	if err := dying.SignalEngine(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	if r := <-direct; r.err != nil || r.status != http.StatusInternalServerError || !bytes.Contains(r.body, []byte("EngineCore")) {
		t.Errorf("the server itself answered %d, %v: %s; want 500 because of its EngineCore", r.status, r.err, r.body)
	}
	for range cap(plain) {
		if r := <-plain; r.err != nil || r.status != http.StatusOK {
			t.Errorf("a request without an answer yet was answered %d, %v: %s; want 200", r.status, r.err, r.body)
		}
	}
	cut := 0
	for _, l := range streams.wait() {
		switch {
		case l.Done && l.Err == nil && l.Failure == "":
		case !l.Done && l.Err != nil && l.Failure != "":
			cut++
		default:
			t.Errorf("a stream ended as %+v, want its end, or an error event and a cut connection", l)
		}
	}
	if cut == 0 {
		t.Error("no stream was cut: none ran on the server that died")
	}

	b = gateway.WaitEnd(t, b.ID, batchLimit)
	results := checkLines(t, gateway, b, input)
	if b.Status != "completed" || b.RequestCounts.Completed != n || len(results.Output) != n {
		t.Errorf("the batch is %s with %+v, want all %d lines completed", b.Status, b.RequestCounts, n)
	}
	tidegatetest.Eventually(t, downLimit, "the server to be down", func() bool { return upstreams(t, gateway)[index].State == "down" })
	select {
	case <-dying.Ended():
	default:
		t.Error("the server is down for the gateway, and its process runs")
	}
	t.Logf("%d of 4 streams were cut, all %d lines completed", cut, n)
}
