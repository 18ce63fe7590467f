package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/tidegate/tidegate/internal/openai"
)

// wholeAnswer is the maximum size of an answer, in bytes, that is buffered completely
// before the client gets a byte of it. If its server fails in mid-body, the request
// is retried.
const wholeAnswer = 1 << 20

// relayWhole relays an answer of a known, moderate length.
func (l *live) relayWhole(a *attempt, answer *http.Response) (handled bool) {
	size := int(answer.ContentLength)
	buf := getBuffer(size)
	defer buf.put()
	text := buf.b[:size]
	if _, err := io.ReadFull(answer.Body, text); err != nil {
		return l.failed(a, err)
	}
	readable := answer.StatusCode == http.StatusOK && unpacked(answer.Header)
	if readable && isJSON(answer.Header) && !closed(text) {
		return l.failed(a, errCutJSON)
	}
	a.commit()
	a.succeeded()
	l.arrived.whole = true
	h := l.w.Header()
	l.answerHeader(answer.Header)
	h["Content-Length"] = answer.Header["Content-Length"]
	l.done.Status = answer.StatusCode
	l.w.WriteHeader(answer.StatusCode)
	if _, err := l.w.Write(text); err != nil {
		l.done.Broken = true
	}
	if readable {
		l.done.Usage, _, l.done.HasUsage = openai.ScanUsage(text)
	}
	return true
}

// errCutJSON reports that the JSON in an answer is truncated.
var errCutJSON = errors.New("the answer's JSON is cut off")

// closed reports whether JSON ends with the bracket that matches its first. This
// detects most truncation by a wrong Content-Length or a proxy, at no cost.
func closed(text []byte) bool {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return false
	}
	switch last := text[len(text)-1]; text[0] {
	case '{':
		return last == '}'
	case '[':
		return last == ']'
	}
	return true
}

// unpacked reports whether a body has no content coding.
func unpacked(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding == "" || coding == "identity"
}

// relayParts streams an answer that is large or of unknown length.
func (l *live) relayParts(a *attempt, answer *http.Response) (handled bool) {
	buf := getBuffer(64 << 10)
	defer buf.put()
	space := buf.b[:cap(buf.b)]
	var usage usageSearch
	readable := answer.StatusCode == http.StatusOK && unpacked(answer.Header)
	out := http.NewResponseController(l.w)
	begun := false
	for {
		n, err := answer.Body.Read(space)
		if !begun {
			if n == 0 && err != nil && err != io.EOF {
				return l.failed(a, err)
			}
			begun = true
			a.commit()
			a.succeeded()
			l.start(answer)
		}
		if n > 0 {
			l.arrived.bytes += int64(n)
			if readable {
				usage.write(space[:n])
			}
			if _, err := l.w.Write(space[:n]); err != nil {
				l.done.Broken = true
				return true
			}
			if answer.ContentLength < 0 && !flush(out) {
				l.done.Broken = true
				return true
			}
			a.up.progress.Add(1)
		}
		if err == io.EOF {
			l.arrived.whole = true
			l.done.Usage, l.done.HasUsage = usage.usage, usage.found
			return true
		}
		if err != nil {
			l.abort(a, err)
		}
	}
}

// start sends the header of an answer whose body is streamed.
func (l *live) start(answer *http.Response) {
	h := l.w.Header()
	l.answerHeader(answer.Header)
	if answer.ContentLength >= 0 {
		h["Content-Length"] = answer.Header["Content-Length"]
	}
	l.done.Status = answer.StatusCode
	l.w.WriteHeader(answer.StatusCode)
}

// flush returns false if the client has disconnected.
func flush(out *http.ResponseController) bool {
	err := out.Flush()
	return err == nil || errors.Is(err, http.ErrNotSupported)
}
