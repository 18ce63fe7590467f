package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// crashLimit is the number of crashes of its upstream after which a line fails.
	crashLimit = 3
	// timeoutLimit is the number of timeouts after which a line fails.
	timeoutLimit = 2
)

// outcome is the result of an attempt. Without done, aborted and the other flags, the
// attempt failed in a way that may pass.
type outcome struct {
	done     bool // result holds the line's result
	result   batch.LineResult
	failure  failure // of the result
	aborted  bool
	unsent   bool // nothing reached the upstream: no retry is used up
	excused  bool // the upstream failed for a reason of its own: no retry is used up
	crashed  bool // the upstream went down
	timedOut bool
	// unreadable is why the request could not be read from the input: no retry is used up.
	unreadable error
	wait       time.Duration // the pause that the upstream asked for
	upstream   string
}

// attempt sends a line once. It runs beside the loop, and has copies of what it needs of
// the line.
type attempt struct {
	batchID  string
	endpoint string
	client   access.Identity // KeyID and Tenant
	number   int             // of the line in its batch, from 0
	index    int             // of the line in its slice
	request  openai.Request  // if input is nil; otherwise as it was read
	input    *lineInput      // nil if the request was in memory

	failures, timeouts, crashes int // of the attempts before
	info                        batch.LineInfo

	config func() *batch.Config
	log    *zap.Logger
}

// newAttempt returns the next attempt at a line. The loop calls it.
func newAttempt(l *line, deps *Dependencies) *attempt {
	w := l.work
	tried := l.tries()
	a := &attempt{
		batchID: w.BatchID, endpoint: w.batchQueue.batch.Endpoint, client: access.Identity{KeyID: w.batchQueue.batch.KeyID, Tenant: w.batchQueue.batch.Tenant}, number: w.FirstLine + int(l.index), index: int(l.index),
		failures: int(tried.failures), timeouts: int(tried.timeouts), crashes: int(tried.crashes),
		config: deps.Config, log: deps.Log,
	}
	if l.request != nil {
		a.request = *l.request
	} else {
		a.input = &lineInput{files: deps.Files, key: w.batchQueue.inputKey, at: l.at}
	}
	return a
}

// send sends the line in a slot, which it releases, and returns the outcome.
func (a *attempt) send(ctx context.Context, slot batch.Slot) outcome {
	cfg := a.config()
	out := outcome{upstream: slot.Upstream()}
	if a.input != nil {
		request, err := a.input.read(ctx, a.endpoint)
		if err != nil {
			slot.Release()
			out.aborted, out.unsent, out.unreadable = ctx.Err() != nil, true, fmt.Errorf("reading line %d: %w", a.number+1, err)
			return out
		}
		a.request = request
	}
	timed, cancel := context.WithTimeout(ctx, cfg.LineTimeout)
	defer cancel()
	begun := time.Now()
	answer, err := slot.Send(access.With(timed, a.client), a.endpoint, a.request.Body)
	a.info = batch.LineInfo{
		Attempts: a.failures + a.timeouts + a.crashes + 1,
		Duration: time.Since(begun).Truncate(time.Millisecond),
		Upstream: out.upstream,
	}
	slot.Release()
	if err != nil {
		return a.failed(ctx, timed, out, err)
	}
	if answer.Next == batch.Elsewhere {
		out.excused = true
		return out
	}
	body, err := openai.CompactAnswer(answer.Body)
	switch {
	case err != nil && success(answer.Status) && whole(answer.Body):
		out.done = true
		out.result = a.unanswered("invalid_answer", fmt.Sprintf("The server answered %d with a body that is not valid JSON: %v. The body was: %s", answer.Status, err, answer.Body))
		return out
	case err != nil && success(answer.Status):
		return a.last(out, cfg.Retries, func() batch.LineResult {
			return a.unanswered("upstream_error", fmt.Sprintf("The server answered %d with a body that is not JSON: %v.", answer.Status, err))
		})
	case err != nil:
		body = wrapAnswer(answer.Body)
	}
	result := func() batch.LineResult { return a.answered(answer, body) }
	if answer.Next == batch.Again {
		out.wait = retryAfter(answer.Header)
		return a.last(out, cfg.Retries, result)
	}
	out.done, out.result = true, result()
	return out
}

// failed returns the outcome of an attempt without an answer.
func (a *attempt) failed(ctx, timed context.Context, out outcome, err error) outcome {
	if ctx.Err() != nil {
		out.aborted = true
		return out
	}
	if timed.Err() != nil {
		out.timedOut = true
		if a.timeouts+1 < timeoutLimit {
			return out
		}
		out.done = true
		out.result = a.unanswered("request_timeout", fmt.Sprintf("No answer within %s.", a.config().LineTimeout))
		return out
	}
	send, ok := errors.AsType[*batch.SendError](err)
	switch {
	case ok && !send.Sent:
		out.unsent = true
		return out
	case ok && send.Unreadable:
		out.done = true
		out.result = a.unanswered("upstream_error", "The answer cannot be read: "+err.Error()+".")
		return out
	case ok && send.TooLarge:
		out.done = true
		out.result = a.unanswered("upstream_error", "The answer is larger than the gateway accepts: "+send.Error()+".")
		return out
	case ok && send.Crashed:
		out.crashed = true
		if a.crashes+1 < crashLimit {
			return out
		}
		a.log.Error("line failed: its upstream went down during each attempt", zap.String("batch_id", a.batchID), zap.Int("line", a.number), zap.String("upstream", out.upstream), zap.Int("attempts", crashLimit))
		out.done = true
		out.result = a.unanswered("upstream_error", fmt.Sprintf("The server went down %d times while it ran this request.", crashLimit))
		return out
	}
	return a.last(out, a.config().Retries, func() batch.LineResult {
		return a.unanswered("upstream_error", "The server did not answer: "+err.Error()+".")
	})
}

// last adds the result to an outcome if the line has no retry left.
func (a *attempt) last(out outcome, retries int, result func() batch.LineResult) outcome {
	if a.failures >= retries {
		out.done, out.result = true, result()
	}
	return out
}

func success(status int) bool { return status >= 200 && status < 300 }

// whole reports whether a body ends with the bracket that closes its first one. If it is
// not valid JSON, as with NaN or bytes that are not UTF-8, the upstream would answer the
// same again.
func whole(body []byte) bool {
	body = bytes.TrimSpace(body)
	if len(body) < 2 {
		return false
	}
	switch last := body[len(body)-1]; body[0] {
	case '{':
		return last == '}'
	case '[':
		return last == ']'
	}
	return false
}
