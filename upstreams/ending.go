package upstreams

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/internal/openai"
)

// ending ends the live requests that are left when the gateway has no more time for
// them.
type ending struct {
	begun context.Context
	begin context.CancelFunc
}

func newEnding() (e ending) {
	e.begun, e.begin = context.WithCancel(context.Background())
	return e
}

// CutLive ends all live requests, now and from now on, so that each client learns
// that its answer is not complete before the process ends. A stream ends like one
// whose server failed: with an error event, and without its last event. A request
// whose answer has not begun gets 503. Batch lines are not affected.
func (p *Pool) CutLive() { p.ending.begin() }

// errEnding is the cause of cancelling a request by CutLive.
var errEnding = errors.New("the gateway is stopping")

// cancelAtEnd cancels the attempt when the pool's live requests are cut. stop reverts
// that.
func (a *attempt) cancelAtEnd() (stop func() bool) {
	return context.AfterFunc(a.pool.ending.begun, func() { a.cancel(errEnding) })
}

// refusalAtEnd returns the error for a request whose answer has not begun when live
// requests are cut.
func refusalAtEnd() *openai.Error {
	return openai.Unavailable(retryAfter, "The gateway is stopping and has no time left for the request.").WithCause(errEnding)
}
