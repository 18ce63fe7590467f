package upstreams

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/internal/openai"
)

// A vLLM server with --scheduling-policy priority runs requests with a smaller
// priority value first, before all others that wait. Live requests have priority 0,
// the default; batch lines are sent with batchPriority if the server is known to use
// that policy.
const batchPriority = "1"

// Values of UpstreamConfig.SchedulingPolicy.
const (
	SchedulingFCFS     = "fcfs"
	SchedulingPriority = "priority"
)

// schedulingPolicies lists all values.
var schedulingPolicies = []string{SchedulingFCFS, SchedulingPriority}

// prioritized lists the routes whose bodies may contain a priority.
var prioritized = []string{"/v1/chat/completions", "/v1/completions", "/v1/responses"}

// refusalSize is the size in bytes of the largest 400 answer that may be about the
// priority.
const refusalSize = 4 << 10

type readCloser struct {
	io.Reader
	io.Closer
}

// sendLine sends the body of a batch line, with a priority if the server is known to
// schedule by it. If the server answers that it does not, it gets the line once more without
// one, and if it accepts that, later lines as well.
func (a *attempt) sendLine(rt *route, header http.Header, body []byte) (*http.Response, error) {
	plain := &payload{head: body, length: int64(len(body))}
	if !a.up.byPriority.Load() || !slices.Contains(prioritized, rt.path) {
		return a.exchange(rt, header, plain)
	}
	with, ok := openai.AddMember(body, "priority", batchPriority)
	if !ok { // it has the member already, or is not an object
		return a.exchange(rt, header, plain)
	}
	answer, err := a.exchange(rt, header, &payload{head: with, length: int64(len(with))})
	if err != nil || answer.StatusCode != http.StatusBadRequest {
		return answer, err
	}
	text := bufio.NewReaderSize(answer.Body, refusalSize)
	head, ended := text.Peek(refusalSize)
	if ended == nil || !refusesPriority(head) { // the end of the body is not an error here
		answer.Body = &readCloser{text, answer.Body}
		return answer, nil
	}
	answer.Body.Close()
	answer, err = a.exchange(rt, header, plain)
	if err == nil && 200 <= answer.StatusCode && answer.StatusCode <= 299 {
		a.up.byPriority.Store(false)
	}
	return answer, err
}

// notEnabled begins vLLM's error for a request with batchPriority unless it was started with
// --scheduling-policy priority (vllm/engine of the versions with the first engine).
const notEnabled = "Got priority " + batchPriority + " but Priority scheduling is not enabled"

// refusesPriority reports whether the body of a 400 says that the server does not schedule by
// priority. Only the beginning of the message counts: servers repeat words of the request
// further behind.
func refusesPriority(body []byte) bool {
	e, ok := readError(body)
	return ok && strings.HasPrefix(e.message, notEnabled)
}

// updatePriority decides whether batch lines are sent with a priority: by the
// configuration, or else by what the server reports. Pool.mu is held.
func (u *upstream) updatePriority() {
	policy := u.policy
	if policy == "" {
		policy = u.facts.Scheduling
	}
	if policy != u.policyInForce { // a refusal remains in force until the policy changes
		u.policyInForce = policy
		u.byPriority.Store(policy == SchedulingPriority)
	}
}
