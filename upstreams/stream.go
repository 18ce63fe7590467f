package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/openai"
)

// eventLimit is how much of an event that has not ended is held back, in bytes.
// One that is larger is relayed as it comes.
const eventLimit = 64 << 10

// isStream tells whether an answer is a stream of server-sent events that can
// be read.
func isStream(h http.Header) bool {
	kind := h["Content-Type"]
	return len(kind) == 1 && strings.HasPrefix(kind[0], "text/event-stream") && unpacked(h)
}

// errNoEnd is that a stream ended without saying so.
var errNoEnd = errors.New("the stream ended without its last event")

// relayStream relays server-sent events, each as soon as it is whole. A server
// sends the header of a stream before it begins to work on it: nothing goes to
// the client before the first event does, so that until then the request can go
// to another server.
func (l *live) relayStream(s *snapshot, a *attempt, answer *http.Response) (settled bool) {
	buf := getBuffer(2 * eventLimit)
	defer buf.put()
	space := buf.b[:2*eventLimit]
	held := 0 // bytes at the beginning of space that the client has not got
	var seen openai.StreamScanner
	defer func() { l.done.Usage, _, l.done.HasUsage = seen.Usage() }()
	if limit := s.cfg.StreamIdleTimeout; limit > 0 {
		idle := time.AfterFunc(limit, func() { a.cancel(errSilent) })
		defer idle.Stop()
		answer.Body = &watched{answer.Body, idle, limit}
	}
	out := http.NewResponseController(l.w)
	begun := false
	for {
		n, err := answer.Body.Read(space[held:])
		_, _ = seen.Write(space[held : held+n]) // never fails
		ready := held + n
		if err == nil {
			ready = wholeEvents(space[:held+n], held)
		} else if err == io.EOF {
			_, _ = seen.Write(endOfLine)
		}
		whole := err == io.EOF && (seen.Ended() || !l.route.end) || err != nil && seen.Ended()
		if err != nil && !whole {
			// What is left of an event would stand before the one that tells
			// of the error.
			ready = wholeEvents(space[:held+n], held)
		}
		if ready > 0 {
			if !begun {
				begun = true
				a.landed()
				l.start(answer)
				l.done.TTFT = time.Since(l.began)
			}
			if !l.send(out, space[:ready]) {
				return true
			}
			a.up.progress.Add(1)
			held = copy(space, space[ready:held+n])
		} else {
			held += n
		}
		switch {
		case err == nil:
		case whole:
			if !begun {
				a.landed()
				l.start(answer)
			}
			return true
		case !begun:
			if err == io.EOF {
				err = errNoEnd
			}
			return l.failed(a, err)
		default:
			l.breakStream(out, a, err, seen.Events())
		}
	}
}

var endOfLine = []byte{'\n'}

// send gives events to the client. It is false when the client is gone.
func (l *live) send(out *http.ResponseController, events []byte) bool {
	if _, err := l.w.Write(events); err != nil || !flush(out) {
		l.done.Broken = true
		return false
	}
	return true
}

// breakStream ends a stream whose server broke off: an event that says so, and
// a cut. Not everybody reads the one, and not everybody sees the other.
func (l *live) breakStream(out *http.ResponseController, a *attempt, err error, events int64) {
	problem := "The model server broke off in the middle of the stream."
	switch {
	case err == io.EOF:
		err = errNoEnd
	case errors.Is(a.cause(), errSilent):
		err = errSilent
		problem = "The model server was silent for too long in the middle of the stream."
	}
	if l.r.Context().Err() == nil {
		_ = l.send(out, l.route.broken(problem, events)) // it is cut in any case
	}
	l.cut(a, err)
}

// wholeEvents is the length of the part of b that consists of whole events, or
// of all of b when the rest is too large to be held back. The first held bytes
// have no end of an event in them.
func wholeEvents(b []byte, held int) int {
	from := max(0, held-3) // an end may be cut in two
	for _, end := range eventEnds {
		if at := bytes.LastIndex(b[from:], end); at >= 0 {
			return from + at + len(end)
		}
	}
	if len(b) >= eventLimit {
		return len(b)
	}
	return 0
}

// eventEnds are empty lines, in the three forms that lines may end in.
var eventEnds = [][]byte{[]byte("\n\n"), []byte("\r\n\r\n"), []byte("\r\r")}

// watched is a body that is cancelled when it is silent for too long.
type watched struct {
	io.ReadCloser

	idle  *time.Timer
	limit time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.idle.Reset(w.limit)
	return n, err
}
