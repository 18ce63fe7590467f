package upstreams

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/tidegate/tidegate/internal/openai"
)

// wholeAnswer is the largest answer in bytes that is read whole before the
// client gets a byte of it. Its server may die in mid-body: that costs a retry.
const wholeAnswer = 1 << 20

// relayWhole relays an answer of a known, moderate length.
func (l *live) relayWhole(a *attempt, answer *http.Response) (settled bool) {
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
	a.landed()
	a.good()
	h := l.w.Header()
	answerHeader(h, answer.Header, l.id)
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

// errCutJSON is that an answer is shorter than the JSON in it.
var errCutJSON = errors.New("the answer's JSON is cut off")

// closed tells whether JSON ends as it begins. It finds out most of what a
// wrong Content-Length or a proxy on the way cut off, at no cost.
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

// unpacked tells whether a body can be read as it is.
func unpacked(h http.Header) bool {
	coding := h.Get("Content-Encoding")
	return coding == "" || coding == "identity"
}

// tailSize is how much of the end of a large answer is searched for its usage,
// in bytes.
const tailSize = 4 << 10

// relayParts relays an answer that is large or of unknown length, as it comes.
// Its usage is read if it stands at the end, as vLLM's does.
func (l *live) relayParts(a *attempt, answer *http.Response) (settled bool) {
	buf := getBuffer(64 << 10)
	defer buf.put()
	space := buf.b[:cap(buf.b)]
	var tail []byte
	out := http.NewResponseController(l.w)
	begun := false
	for {
		n, err := answer.Body.Read(space)
		if !begun {
			if n == 0 && err != nil && err != io.EOF {
				return l.failed(a, err)
			}
			begun = true
			a.landed()
			a.good()
			l.start(answer)
		}
		if n > 0 {
			tail = appendTail(tail, space[:n])
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
			if answer.StatusCode == http.StatusOK && unpacked(answer.Header) {
				l.done.Usage, l.done.HasUsage = tailUsage(tail)
			}
			return true
		}
		if err != nil {
			l.cut(a, err)
		}
	}
}

// start sends the header of an answer whose body follows in parts.
func (l *live) start(answer *http.Response) {
	h := l.w.Header()
	answerHeader(h, answer.Header, l.id)
	if answer.ContentLength >= 0 {
		h["Content-Length"] = answer.Header["Content-Length"]
	}
	l.done.Status = answer.StatusCode
	l.w.WriteHeader(answer.StatusCode)
}

// flush is false when the client is gone.
func flush(out *http.ResponseController) bool {
	err := out.Flush()
	return err == nil || errors.Is(err, http.ErrNotSupported)
}

// appendTail keeps the last tailSize bytes of what passes.
func appendTail(tail, part []byte) []byte {
	if len(part) >= tailSize {
		return append(tail[:0], part[len(part)-tailSize:]...)
	}
	if over := len(tail) + len(part) - tailSize; over > 0 {
		tail = append(tail[:0], tail[over:]...)
	}
	return append(tail, part...)
}

// tailUsage finds the usage at the end of a JSON answer. A name between bare
// quotes cannot be in the text of a string.
func tailUsage(tail []byte) (openai.Usage, bool) {
	at := bytes.LastIndex(tail, []byte(`"usage"`))
	if at < 0 {
		return openai.Usage{}, false
	}
	usage, _, ok := openai.ScanUsage(append([]byte{'{'}, tail[at:]...))
	return usage, ok
}
