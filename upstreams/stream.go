package upstreams

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// eventLimit limits the buffer of an incomplete event, in bytes. Larger events are
// relayed as they arrive.
const eventLimit = 64 << 10

// isStream reports whether an answer is a readable stream of server-sent events.
func isStream(h http.Header) bool {
	return mediaType(h) == "text/event-stream" && unpacked(h)
}

// errNoEnd reports that a stream ended without its final event.
var errNoEnd = errors.New("the stream ended without its last event")

// relayStream relays server-sent events, each as soon as it is complete. A server
// sends the header of a stream before it starts processing: until the first event
// nothing is sent to the client, so that the request can be retried on another
// server.
//
// asked reports whether the gateway has asked for the usage, which the client then does not
// get.
func (l *live) relayStream(s *snapshot, a *attempt, answer *http.Response, asked bool) (handled bool) {
	st := stream{live: l, attempt: a, answer: answer, out: http.NewResponseController(l.w), limit: s.cfg.StreamIdleTimeout}
	st.usage.on = asked
	st.buf = getBuffer(firstStreamBuffer)
	defer st.close()
	for {
		handled, over := st.step()
		if over {
			return handled
		}
	}
}

// firstStreamBuffer is sufficient for the events of nearly all streams, in bytes.
const firstStreamBuffer = 16 << 10

// stream is a stream that is being relayed.
type stream struct {
	*live
	attempt *attempt
	answer  *http.Response
	out     *http.ResponseController
	limit   time.Duration // maximum silence; 0 for no limit
	idle    *time.Timer   // nil before the first event, or without limit
	buf     *buffer       // not sent to the client yet: the beginning of an event
	seen    openai.StreamScanner
	begun   bool // the client has got something
	open    bool // the last byte sent to the client is inside an event
	last    byte // the last byte that was sent to the client or removed
	usage   usageCutter
	gaps    gaps
}

func (st *stream) close() {
	if st.begun {
		st.done.Usage, _, st.done.HasUsage = st.seen.Usage()
		st.arrived.events = st.seen.Events()
		st.arrived.whole = st.arrived.whole || st.seen.Ended() // whether the client gets the end or not
		st.done.ITL = st.interval()
	}
	if st.begun && st.done.Class == Live {
		st.attempt.up.telemetry.streamed(st.done.TTFT, st.done.ITL)
	}
	st.gaps.flush(st.attempt)
	if st.idle != nil {
		st.idle.Stop()
	}
	st.buf.put()
}

// interval returns the average time between tokens, 0 if not known. Without usage,
// events count as tokens.
func (st *stream) interval() time.Duration {
	tokens := st.seen.Events()
	if st.done.HasUsage {
		tokens = st.done.Usage.OutputTokens
	}
	if tokens < 2 || st.done.Broken {
		return 0
	}
	return (time.Since(st.began) - st.done.TTFT) / time.Duration(tokens-1)
}

// step reads once and relays the complete events. over reports whether the stream has
// ended; then handled is relayStream's result.
func (st *stream) step() (handled, over bool) {
	held := len(st.buf.b)
	n, err := st.answer.Body.Read(st.buf.b[held:cap(st.buf.b)])
	st.buf.b = st.buf.b[:held+n]
	_, _ = st.seen.Write(st.buf.b[held:]) // never fails
	if err == io.EOF {
		_, _ = st.seen.Write(endOfLine)
	}
	whole := err != nil && (st.seen.Ended() || err == io.EOF && !st.route.end)
	ready, inside := eventEnd(st.buf.b, held, st.last, st.open), st.open
	switch {
	case whole:
		ready, st.open = held+n, false
	case err == nil && ready == 0 && held+n >= eventLimit:
		ready, st.open = held+n, true
	case ready > 0:
		st.open = false
	}
	if ready > 0 {
		st.last = st.buf.b[ready-1]
	}
	if ready > 0 && !st.open && st.usage.on {
		ready, st.buf.b = st.usage.cut(st.buf.b, ready, st.seen.Usages(), inside)
	}
	if ready > 0 && !st.open {
		if e, found := findError(st.buf.b[:ready]); found {
			if e.first && !st.begun {
				return st.refused(e), true
			}
			if st.relay(e.end) {
				st.fail(e)
			}
			return true, true
		}
	}
	if ready > 0 && !st.relay(ready) {
		return true, true
	}
	switch {
	case err == nil:
		if len(st.buf.b) == cap(st.buf.b) {
			st.buf.grow(eventLimit)
		}
		return false, false
	case whole:
		st.arrived.whole = true
		if !st.begun {
			st.begin()
		}
		return true, true
	case !st.begun:
		if err == io.EOF {
			err = errNoEnd
		}
		return st.failed(st.attempt, err), true
	}
	st.breakOff(err)
	return true, true
}

// relay sends the first n buffered bytes to the client. It returns false if the
// client has disconnected.
func (st *stream) relay(n int) bool {
	if !st.begun {
		st.begin()
	}
	if st.idle != nil {
		st.idle.Reset(st.limit)
	}
	st.attempt.up.progress.Add(1)
	st.gaps.piece(st.attempt)
	ok := st.send(st.buf.b[:n])
	st.buf.b = st.buf.b[:copy(st.buf.b, st.buf.b[n:])]
	return ok
}

func (st *stream) begin() {
	st.begun = true
	st.attempt.firstByte()
	st.attempt.commit()
	st.attempt.succeeded()
	st.start(st.answer)
	st.done.TTFT = time.Since(st.began)
	if st.limit > 0 {
		st.idle = time.AfterFunc(st.limit, func() { st.attempt.cancel(errSilent) })
	}
}

// send writes to the client and flushes. It returns false if the client has
// disconnected.
func (st *stream) send(events []byte) bool {
	if _, err := st.w.Write(events); err != nil || !flush(st.out) {
		st.done.Broken = true
		return false
	}
	return true
}

// breakOff ends a stream whose server failed, or that was cut: with an error event, and by aborting
// the connection, because not every client handles both.
func (st *stream) breakOff(err error) {
	problem := "The model server broke off in the middle of the stream."
	switch {
	case errors.Is(err, io.EOF):
		err = errNoEnd
	case errors.Is(st.attempt.cause(), errEnding):
		err = errEnding
		problem = "The gateway is stopping and had no time left for the rest of the stream."
	case errors.Is(st.attempt.cause(), errSilent):
		err = errSilent
		problem = "The model server was silent for too long in the middle of the stream."
	}
	if st.r.Context().Err() == nil {
		last := st.route.broken(problem, st.seen.Events())
		if st.open {
			last = append([]byte("\n\n"), last...)
		}
		_ = st.send(last) // the connection is aborted in any case
	}
	st.abort(st.attempt, err)
}

var endOfLine = []byte{'\n'}
