package vllm

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// streams are long live requests in flight.
type streams struct {
	n     int
	ended chan tidegatetest.Live
}

// startStreams sends n long streamed requests and waits for the first event of
// each.
func startStreams(t *testing.T, g *tidegatetest.Gateway, n int) *streams {
	t.Helper()
	s := &streams{n: n, ended: make(chan tidegatetest.Live, n)}
	begun := make(chan struct{}, n)
	for i := range n {
		b := chat(fmt.Sprintf("Stream %d.", i), longAnswer).streamed().json()
		go func() { // ends with its request, at the latest with the gateway
			s.ended <- g.Chat(t.Context(), b, func(events int) {
				if events == 1 {
					begun <- struct{}{}
				}
			})
		}()
	}
	for range n {
		select {
		case <-begun:
		case l := <-s.ended:
			t.Fatalf("a stream ended at its beginning: %+v", l)
		}
	}
	return s
}

// wait returns the results of the streams.
func (s *streams) wait() []tidegatetest.Live {
	all := make([]tidegatetest.Live, 0, s.n)
	for range s.n {
		all = append(all, <-s.ended)
	}
	return all
}
