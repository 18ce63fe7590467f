package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	// crashLimit is how often a line may take its upstream down before it is
	// given up.
	crashLimit = 3
	// timeoutLimit is how often a line may run out of its time.
	timeoutLimit = 2
	// retryAfterLimit bounds what an upstream may ask for.
	retryAfterLimit = 5 * time.Minute
	// excusedPause bounds the pause of a line whose upstream failed for a reason
	// of its own. The pool paces what it gives to such upstreams.
	excusedPause = 2 * time.Second
)

// startLines gives lines to slots until either is used up.
func (r *Scheduler) startLines() {
	if r.noSpace || r.commit.waiting() > r.deps.Config().MemoryBytes || r.lapsed(time.Now()) {
		return
	}
	limit := r.MaxInFlight()
	full := make(map[string]bool) // models without a slot now
	for r.inFlight < limit {
		f, lane := r.next(full)
		if f == nil {
			break
		}
		avoid := ""
		if l, ok := f.pending[lane].Peek(); ok {
			avoid = l.avoid
		}
		slot, err := r.deps.Dispatcher.Reserve(lane.model, avoid)
		if err != nil {
			full[lane.model] = true
			if !errors.Is(err, batch.ErrBusy) {
				r.markUnroutable(lane.model, err)
			}
			continue
		}
		r.startLine(f.pop(lane, slot.Upstream()), slot)
	}
	r.checkUnroutable()
	r.noteStalled(full)
	now := time.Now()
	r.noteSaturated(full, r.inFlight < limit, now)
	r.noteShortage(now)
}

// next chooses the batch and the model whose line goes next: by priority, fair
// among batch queues of one priority, then by deadline and age.
func (r *Scheduler) next(full map[string]bool) (*batchQueue, lane) {
	var best *batchQueue
	var bestLane lane
	for _, f := range r.queues {
		if f.nPending == 0 || f.paused || (best != nil && !f.before(best)) {
			continue
		}
		for lane := range f.pending {
			if !full[lane.model] && (!lane.suspect || r.suspect == nil) {
				best, bestLane = f, lane
				break
			}
		}
	}
	return best, bestLane
}

func (f *batchQueue) before(g *batchQueue) bool {
	switch {
	case f.batch.Priority != g.batch.Priority:
		return f.batch.Priority > g.batch.Priority
	case f.running != g.running:
		return f.running < g.running
	case !f.batch.ExpiresAt.Equal(g.batch.ExpiresAt):
		return f.batch.ExpiresAt.Before(g.batch.ExpiresAt)
	default:
		return f.batch.ID < g.batch.ID
	}
}

// suspicious reports whether a line is to run alone among its like, so that one
// more crash convicts it and not its neighbours.
func (l *line) suspicious() bool { return l.crashes >= crashLimit-1 }

func (l *line) lane() lane { return lane{l.request.Model, l.suspicious()} }

func (r *Scheduler) startLine(l *line, slot batch.Slot) {
	ctx, cancel := context.WithCancel(r.lines.Context())
	l.state, l.abort = lineRunning, cancel
	l.work.batchQueue.begin(l.request.Model, 1)
	r.inFlight++
	if l.suspicious() {
		r.suspect = l
	}
	a, claim := newAttempt(l), l.work.SliceClaim
	r.lines.Start(func(context.Context) {
		defer cancel()
		out := r.send(ctx, a, slot)
		if out.done {
			out.failure = failureOf(out.result)
			// The result goes to the committer at once, so that drain, which waits
			// for this goroutine, finds it there.
			r.commit.add(finishedLine{line: l, claim: claim, result: out.result})
		}
		r.post(func() { r.attempted(l, out) })
	})
}

// outcome is the outcome of an attempt.
type outcome struct {
	done     bool // result holds the line's result
	result   batch.LineResult
	failure  failure // of the result
	aborted  bool
	unsent   bool // nothing reached the upstream: no attempt was used up
	excused  bool // the upstream failed for a reason of its own: likewise
	crashed  bool // the upstream went down
	timedOut bool
	wait     time.Duration // what the upstream asked for
	upstream string
}

// attempt is one sending of a line. It has copies of what it needs: the line belongs to
// the loop.
type attempt struct {
	batchID  string
	endpoint string
	number   int // of the line in its batch, from 0
	index    int // of the line in its slice
	request  openai.Request

	failures, timeouts, crashes int // of the attempts before
	info                        batch.LineInfo
}

// newAttempt returns the next attempt at a line.
func newAttempt(l *line) *attempt {
	w := l.work
	return &attempt{
		batchID: w.BatchID, endpoint: w.batchQueue.batch.Endpoint, number: w.FirstLine + l.index, index: l.index, request: l.request,
		failures: l.failures, timeouts: l.timeouts, crashes: l.crashes,
	}
}

// send makes an attempt and returns its outcome. It touches nothing of the loop.
func (r *Scheduler) send(ctx context.Context, a *attempt, slot batch.Slot) outcome {
	cfg := r.deps.Config()
	out := outcome{upstream: slot.Upstream()}
	timed, cancel := context.WithTimeout(ctx, cfg.LineTimeout)
	defer cancel()
	begun := time.Now()
	answer, err := slot.Send(timed, a.endpoint, a.request.Body)
	a.info = batch.LineInfo{
		Attempts: a.failures + a.timeouts + a.crashes + 1,
		Duration: time.Since(begun).Truncate(time.Millisecond),
		Upstream: out.upstream,
	}
	slot.Release()
	if err != nil {
		return r.failed(ctx, timed, a, out, err)
	}
	if answer.Next == batch.Elsewhere {
		out.excused = true
		return out
	}
	body, err := openai.CompactAnswer(answer.Body)
	switch {
	case err != nil && success(answer.Status) && whole(answer.Body):
		out.done = true
		out.result = r.unanswered(a, "invalid_answer", fmt.Sprintf("The server answered %d with a body that is not valid JSON: %v. The body was: %s", answer.Status, err, answer.Body))
		return out
	case err != nil && success(answer.Status):
		return r.last(a, out, cfg.Retries, func() batch.LineResult {
			return r.unanswered(a, "upstream_error", fmt.Sprintf("The server answered %d with a body that is not JSON: %v.", answer.Status, err))
		})
	case err != nil:
		body = wrapAnswer(answer.Body)
	}
	result := func() batch.LineResult { return r.answered(a, answer, body) }
	if answer.Next == batch.Again {
		out.wait = retryAfter(answer.Header)
		return r.last(a, out, cfg.Retries, result)
	}
	out.done, out.result = true, result()
	return out
}

// failed sorts out an attempt without an answer.
func (r *Scheduler) failed(ctx, timed context.Context, a *attempt, out outcome, err error) outcome {
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
		out.result = r.unanswered(a, "request_timeout", fmt.Sprintf("No answer within %s.", r.deps.Config().LineTimeout))
		return out
	}
	send, ok := errors.AsType[*batch.SendError](err)
	switch {
	case ok && !send.Sent:
		out.unsent = true
		return out
	case ok && send.Unreadable:
		out.done = true
		out.result = r.unanswered(a, "upstream_error", "The answer cannot be read: "+err.Error()+".")
		return out
	case ok && send.TooLarge:
		out.done = true
		out.result = r.unanswered(a, "upstream_error", "The answer is larger than the gateway accepts: "+send.Error()+".")
		return out
	case ok && send.Crashed:
		out.crashed = true
		if a.crashes+1 < crashLimit {
			return out
		}
		r.deps.Log.Error("line given up: its server went down each time it ran", zap.String("batch_id", a.batchID), zap.Int("line", a.number))
		out.done = true
		out.result = r.unanswered(a, "upstream_error", fmt.Sprintf("The server went down %d times while it ran this request.", crashLimit))
		return out
	}
	return r.last(a, out, r.deps.Config().Retries, func() batch.LineResult {
		return r.unanswered(a, "upstream_error", "The server did not answer: "+err.Error()+".")
	})
}

// last makes the result when the line has no retry left.
func (r *Scheduler) last(a *attempt, out outcome, retries int, result func() batch.LineResult) outcome {
	if a.failures >= retries {
		out.done, out.result = true, result()
	}
	return out
}

func success(status int) bool { return status >= 200 && status < 300 }

// whole reports whether what looks like JSON ends as it begins. Then the server
// wrote it so, as with NaN or bytes that are not UTF-8, and would again.
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

// attempted handles the outcome of an attempt.
func (r *Scheduler) attempted(l *line, out outcome) {
	w := l.work
	w.batchQueue.begin(l.request.Model, -1)
	if r.suspect == l {
		r.suspect = nil
	}
	if out.done {
		if l.state == lineRunning { // else its commit was quicker than this
			l.state = lineFinished
		}
		if !w.dropped {
			r.ended(w.batchQueue, out.failure)
		}
		return
	}
	r.inFlight--
	if out.aborted || w.dropped {
		l.state = lineEnded
		return
	}
	pause := r.backoff(l.failures)
	switch {
	case out.unsent:
		pause = r.backoff(0)
	case out.excused:
		pause = min(r.backoff(l.excused), excusedPause)
		l.excused++
	case out.crashed:
		l.crashes++
	case out.timedOut:
		l.timeouts++
	default:
		l.failures++
	}
	l.avoid = out.upstream
	l.state = lineBackoff
	w.batchQueue.backingOff++
	r.releaseIfStopped(w.batchQueue)
	r.deadlines.at(time.Now().Add(max(pause, out.wait)), func() {
		if l.state == lineBackoff {
			w.batchQueue.backingOff--
			if out.excused { // so that each trial of a suspect upstream is another line's
				w.batchQueue.pushBack(l)
			} else {
				w.batchQueue.pushFront(l)
			}
		}
	})
}

// backoff doubles with every failure, with jitter over its upper half.
func (r *Scheduler) backoff(failures int) time.Duration {
	cfg := r.deps.Config()
	d := cfg.RetryBackoffMin
	for range failures {
		if d *= 2; d >= cfg.RetryBackoffMax {
			d = cfg.RetryBackoffMax
			break
		}
	}
	return d/2 + rand.N(d/2+1)
}

// retryAfter reads the header of that name, in seconds or as a date
// (RFC 9110, 10.2.3), bounded.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if !(seconds < retryAfterLimit.Seconds()) { // NaN as well
			return retryAfterLimit
		}
		d = time.Duration(seconds * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), retryAfterLimit)
}

// answered makes the result of a line that got an answer.
func (r *Scheduler) answered(a *attempt, answer batch.Answer, body []byte) batch.LineResult {
	id := batch.RequestID(a.batchID, a.number)
	upstreamID := answer.RequestID
	if upstreamID == "" {
		upstreamID = id
	}
	usage, _, _ := openai.ScanUsage(body)
	return batch.LineResult{
		Index: a.index, Failed: !success(answer.Status), Model: a.request.Model, Usage: usage,
		Record:   openai.AppendResponseLine(nil, id, a.request.CustomID, answer.Status, upstreamID, body),
		LineInfo: a.info,
	}
}

// unanswered makes the result of a line that got none.
func (r *Scheduler) unanswered(a *attempt, code, message string) batch.LineResult {
	id := batch.RequestID(a.batchID, a.number)
	return batch.LineResult{
		Index: a.index, Failed: true, Model: a.request.Model,
		Record:   openai.AppendErrorLine(nil, id, a.request.CustomID, code, message),
		LineInfo: a.info,
	}
}

// wrapLimit bounds how much of an error page is kept in a result.
const wrapLimit = 4 << 10

// wrapAnswer puts a body that is not JSON into the error envelope.
func wrapAnswer(body []byte) []byte {
	text := string(body[:min(len(body), wrapLimit)])
	wrapped, err := json.Marshal(openai.BadGateway("The server answered with something that is not JSON: %s", text))
	if err != nil { // strings always marshal
		panic(err)
	}
	return wrapped
}
