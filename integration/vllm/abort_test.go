package vllm

import (
	"context"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

const (
	abortLimit   = time.Second      // from the client's leaving until a real engine has stopped
	metricsLimit = 30 * time.Second // until requests show in the server's metrics
	longAnswer   = 1900             // tokens: several seconds
)

// A request whose client leaves is aborted in the engine, streamed or not.
func (s *suite) abort(t *testing.T) {
	server := s.servers[0]
	gateway := s.serve(t, server)
	isRunning := func(n float64) func() bool {
		return func() bool { return metrics(t, server)[running] == n }
	}
	request := chat("Count all waves.", longAnswer)
	for _, c := range []struct {
		name string
		body body
	}{{"plain", request}, {"streamed", request.streamed()}, {"two choices", request.with(body{"n": 2, "temperature": 1})}} {
		t.Run(c.name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			ended := make(chan error, 1)
			go func() {
				_, err := post(ctx, gateway.URL, chatPath, c.body)
				ended <- err
			}()
			tidegatetest.Eventually(t, metricsLimit, "the request to run", func() bool { return metrics(t, server)[running] > 0 })
			left := time.Now()
			leave()
			if err := <-ended; err == nil {
				t.Fatal("the request was answered before its client left")
			}
			tidegatetest.Eventually(t, s.abortLimit, "the engine to stop", isRunning(0))
			t.Logf("no request runs %s after the client disconnected", time.Since(left).Round(time.Millisecond))
		})
	}
}
