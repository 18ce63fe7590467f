package upstreams

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"

	"github.com/tidegate/tidegate/internal/openai"
)

// A vLLM server with --scheduling-policy priority runs requests of a smaller
// priority first, past all that wait. Live requests have 0, as they come; batch
// lines are sent with batchPriority where the server is known to schedule so.
const batchPriority = "1"

// The values of UpstreamConfig.SchedulingPolicy.
const (
	SchedulingFCFS     = "fcfs"
	SchedulingPriority = "priority"
)

// schedulingPolicies are all of them.
var schedulingPolicies = []string{SchedulingFCFS, SchedulingPriority}

// prioritized are the routes whose bodies may have a priority.
var prioritized = []string{"/v1/chat/completions", "/v1/completions", "/v1/responses"}

// refusalSize is how much of a 400 is read to find out why it is one, in bytes.
const refusalSize = 4 << 10

type readCloser struct {
	io.Reader
	io.Closer
}

// sendLine sends the body of a batch line, with a priority where the server is known
// to schedule by it. A server that says that it does not gets the line without, and
// later ones as well.
func (a *attempt) sendLine(rt *route, header http.Header, body []byte) (*http.Response, error) {
	plain := &payload{head: body, length: int64(len(body))}
	if !a.up.byPriority.Load() || !slices.Contains(prioritized, rt.path) {
		return a.exchange(rt, header, plain)
	}
	with, ok := openai.AddMember(body, "priority", batchPriority)
	if !ok { // it has one, or is no object
		return a.exchange(rt, header, plain)
	}
	answer, err := a.exchange(rt, header, &payload{head: with, length: int64(len(with))})
	if err != nil || answer.StatusCode != http.StatusBadRequest {
		return answer, err
	}
	text := bufio.NewReaderSize(answer.Body, refusalSize)
	if told, _ := text.Peek(refusalSize); !bytes.Contains(told, []byte(notEnabled)) { // the end is no error here
		answer.Body = &readCloser{text, answer.Body}
		return answer, nil
	}
	answer.Body.Close()
	a.up.byPriority.Store(false)
	return a.exchange(rt, header, plain)
}

// arrangePriority decides whether batch lines are sent with a priority: by what is
// configured, or else by what the server tells. Pool.mu is held.
func (u *upstream) arrangePriority() {
	policy := u.policy
	if policy == "" {
		policy = u.facts.Scheduling
	}
	if policy != u.policyInForce { // what a server refused stays so until this changes
		u.policyInForce = policy
		u.byPriority.Store(policy == SchedulingPriority)
	}
}
