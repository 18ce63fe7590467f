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
		l := f.pop(lane)
		slot, err := r.deps.Dispatcher.Reserve(lane.model, l.avoid)
		if err != nil {
			f.pushFront(l)
			full[lane.model] = true
			if !errors.Is(err, batch.ErrBusy) {
				r.markUnroutable(lane.model, err)
			}
			continue
		}
		r.startLine(l, slot)
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

// suspicious tells whether a line is to run alone among its like, so that one
// more crash convicts it and not its neighbours.
func (l *line) suspicious() bool { return l.crashes >= crashLimit-1 }

func (l *line) lane() lane { return lane{l.request.Model, l.suspicious()} }

func (r *Scheduler) startLine(l *line, slot batch.Slot) {
	ctx, cancel := context.WithCancel(r.ctx)
	l.state, l.abort = lineRunning, cancel
	l.work.batchQueue.begin(l.request.Model, 1)
	r.inFlight++
	if l.suspicious() {
		r.suspect = l
	}
	r.lines.Go(func() {
		defer cancel()
		out := r.attempt(ctx, l, slot)
		if out.done {
			l.result = out.result
			out.failure = failureOf(out.result)
			// Handed over here rather than by the loop: a result must reach
			// the committer whatever the loop is at.
			r.commit.add(l)
		}
		r.post(func() { r.attempted(l, out) })
	})
}

// outcome is what an attempt at a line came to.
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

// attempt sends a line once. It touches only the line's own fields that the
// loop leaves alone while it runs.
func (r *Scheduler) attempt(ctx context.Context, l *line, slot batch.Slot) outcome {
	cfg := r.deps.Config()
	out := outcome{upstream: slot.Upstream()}
	timed, cancel := context.WithTimeout(ctx, cfg.LineTimeout)
	defer cancel()
	begun := time.Now()
	answer, err := slot.Send(timed, l.work.batchQueue.endpoint, l.request.Body)
	l.info = batch.LineInfo{
		Attempts: l.failures + l.timeouts + l.crashes + 1,
		Duration: time.Since(begun).Truncate(time.Millisecond),
		Upstream: out.upstream,
	}
	slot.Release()
	if err != nil {
		return r.failed(ctx, timed, l, out, err)
	}
	if answer.Next == batch.Elsewhere {
		out.excused = true
		return out
	}
	body, err := openai.CompactAnswer(answer.Body)
	switch {
	case err != nil && success(answer.Status) && whole(answer.Body):
		out.done = true
		out.result = r.unanswered(l, "invalid_answer", fmt.Sprintf("The server answered %d with a body that is not valid JSON: %v. The body was: %s", answer.Status, err, answer.Body))
		return out
	case err != nil && success(answer.Status):
		return r.last(l, out, cfg.Retries, func() batch.LineResult {
			return r.unanswered(l, "upstream_error", fmt.Sprintf("The server answered %d with a body that is not JSON: %v.", answer.Status, err))
		})
	case err != nil:
		body = wrapAnswer(answer.Body)
	}
	result := func() batch.LineResult { return r.answered(l, answer, body) }
	if answer.Next == batch.Again {
		out.wait = retryAfter(answer.Header)
		return r.last(l, out, cfg.Retries, result)
	}
	out.done, out.result = true, result()
	return out
}

// failed sorts out an attempt without an answer.
func (r *Scheduler) failed(ctx, timed context.Context, l *line, out outcome, err error) outcome {
	if ctx.Err() != nil {
		out.aborted = true
		return out
	}
	if timed.Err() != nil {
		out.timedOut = true
		if l.timeouts+1 < timeoutLimit {
			return out
		}
		out.done = true
		out.result = r.unanswered(l, "request_timeout", fmt.Sprintf("No answer within %s.", r.deps.Config().LineTimeout))
		return out
	}
	send, ok := errors.AsType[*batch.SendError](err)
	switch {
	case ok && !send.Sent:
		out.unsent = true
		return out
	case ok && send.Unreadable:
		out.done = true
		out.result = r.unanswered(l, "upstream_error", "The answer cannot be read: "+err.Error()+".")
		return out
	case ok && send.TooLarge:
		out.done = true
		out.result = r.unanswered(l, "upstream_error", "The answer is larger than the gateway accepts: "+send.Error()+".")
		return out
	case ok && send.Crashed:
		out.crashed = true
		if l.crashes+1 < crashLimit {
			return out
		}
		r.deps.Log.Error("line given up: its server went down each time it ran", zap.String("batch_id", l.work.BatchID), zap.Int("line", l.work.FirstLine+l.index))
		out.done = true
		out.result = r.unanswered(l, "upstream_error", fmt.Sprintf("The server went down %d times while it ran this request.", crashLimit))
		return out
	}
	return r.last(l, out, r.deps.Config().Retries, func() batch.LineResult {
		return r.unanswered(l, "upstream_error", "The server did not answer: "+err.Error()+".")
	})
}

// last makes the result when the line has no retry left.
func (r *Scheduler) last(l *line, out outcome, retries int, result func() batch.LineResult) outcome {
	if l.failures >= retries {
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

// attempted takes in the outcome of an attempt.
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
	time.AfterFunc(max(pause, out.wait), func() {
		r.post(func() {
			if l.state == lineBackoff {
				w.batchQueue.backingOff--
				if out.excused { // so that each trial of a suspect upstream is another line's
					w.batchQueue.push(l)
				} else {
					w.batchQueue.pushFront(l)
				}
			}
		})
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
func (r *Scheduler) answered(l *line, a batch.Answer, body []byte) batch.LineResult {
	id := batch.RequestID(l.work.BatchID, l.work.FirstLine+l.index)
	upstreamID := a.RequestID
	if upstreamID == "" {
		upstreamID = id
	}
	usage, _, _ := openai.ScanUsage(body)
	return batch.LineResult{
		Index: l.index, Failed: !success(a.Status), Model: l.request.Model, Usage: usage,
		Record:   openai.AppendResponseLine(nil, id, l.request.CustomID, a.Status, upstreamID, body),
		LineInfo: l.info,
	}
}

// unanswered makes the result of a line that got none.
func (r *Scheduler) unanswered(l *line, code, message string) batch.LineResult {
	id := batch.RequestID(l.work.BatchID, l.work.FirstLine+l.index)
	return batch.LineResult{
		Index: l.index, Failed: true, Model: l.request.Model,
		Record:   openai.AppendErrorLine(nil, id, l.request.CustomID, code, message),
		LineInfo: l.info,
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
