package vllm

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A request with a smaller priority passes all that wait at the server.
func (s *suite) priority(t *testing.T) {
	server := s.servers[0]
	// With a larger limit than the server's the gateway lets requests wait at the server.
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Upstreams: []string{server.URL}, Args: []string{"--max-num-seqs", "64"}})
	var all sync.WaitGroup
	defer all.Wait()
	begun := make(chan string, 3*maxNumSeqs) // the names of requests, in the order of their first events
	send := func(name string, b body) {
		all.Go(func() {
			l := gateway.Chat(t.Context(), b.streamed().json(), func(events int) {
				if events == 1 {
					begun <- name
				}
			})
			if l.Err != nil || !l.Done {
				t.Errorf("%s ended as %+v", name, l)
			}
		})
	}
	// Answers of different lengths free the slots one after the other.
	for i := range maxNumSeqs {
		send("running", chat(fmt.Sprintf("Request %d runs.", i), longAnswer/2+i*longAnswer/20))
	}
	count := func(metric string, n float64) {
		t.Helper()
		tidegatetest.Eventually(t, metricsLimit, fmt.Sprintf("%s to be %v", metric, n), func() bool { return metrics(t, server)[metric] == n })
	}
	count(running, maxNumSeqs)
	for range maxNumSeqs {
		<-begun
	}
	for i := range maxNumSeqs {
		send("waiting", chat(fmt.Sprintf("Request %d waits.", i), 4).with(body{"priority": 10}))
	}
	count(waiting, maxNumSeqs)
	send("urgent", chat("Now.", 4).with(body{"priority": 0}))
	count(waiting, maxNumSeqs+1)
	if first := <-begun; first != "urgent" {
		t.Errorf("the first to begin is one that was %s, want the urgent one", first)
	}
}
