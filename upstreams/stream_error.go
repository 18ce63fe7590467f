package upstreams

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"go.uber.org/zap"
)

// errorEvent is an event in which the server reports a failure.
type errorEvent struct {
	body  []byte // its data
	first bool   // no event with data precedes it
	end   int    // of the event
}

var errorWord = []byte("error")

// findError returns the first error among complete events.
//
// vLLM and OpenAI send an error as data with a member `error`, followed by [DONE];
// the Responses and the Messages API send an event of the type `error`.
func findError(events []byte) (errorEvent, bool) {
	if !bytes.Contains(events, errorWord) {
		return errorEvent{}, false
	}
	var name, data []byte
	first := true
	for at := 0; at < len(events); {
		line, next := cutLine(events, at)
		at = next
		switch {
		case bytes.HasPrefix(line, []byte("event:")):
			name = bytes.TrimSpace(line[len("event:"):])
		case bytes.HasPrefix(line, []byte("data:")):
			data = append(data, bytes.TrimSpace(line[len("data:"):])...)
		}
		if len(line) > 0 && at < len(events) {
			continue
		}
		if isErrorData(name, data) {
			return errorEvent{data, first, at}, true
		}
		first = first && len(data) == 0
		name, data = nil, nil
	}
	return errorEvent{}, false
}

// cutLine returns the line that begins at at, without its end, and the begin of the
// next one.
func cutLine(b []byte, at int) (line []byte, next int) {
	n := bytes.IndexAny(b[at:], "\r\n")
	if n < 0 {
		return b[at:], len(b)
	}
	line, next = b[at:at+n], at+n+1
	if b[next-1] == '\r' && next < len(b) && b[next] == '\n' {
		next++
	}
	return line, next
}

// isErrorData reports whether the data of an event is an error.
func isErrorData(name, data []byte) bool {
	if len(data) == 0 || data[0] != '{' || !bytes.Contains(data, errorWord) {
		return false
	}
	var top struct {
		Type  string          `json:"type"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(data, &top) != nil {
		return false
	}
	return string(name) == "error" || top.Type == "error" || len(top.Error) > 0 && string(top.Error) != "null"
}

// refused handles a stream that begins with an error: nothing was sent to the client,
// so that it is handled like any other error.
func (st *stream) refused(e errorEvent) (handled bool) {
	v, got := st.attempt.judgeEvent(e.body, st.attempt.hasClientKey(st.header))
	return st.handleError(st.attempt, v, got)
}

// fail ends a stream after an error in its middle, which was relayed. The [DONE] that
// servers send after an error is not relayed.
func (st *stream) fail(e errorEvent) {
	v, got := st.attempt.judgeEvent(e.body, st.attempt.hasClientKey(st.header))
	st.attempt.recordError(v, got, st.body.head)
	st.done.Broken, st.cutOff = true, true
	if c := st.proxy.log.Check(zap.WarnLevel, "answer cut off"); c != nil {
		c.Write(zap.String("request", st.id[0]), zap.String("upstream", st.attempt.up.url), zap.Error(errErrorEvent))
	}
	panic(http.ErrAbortHandler)
}

var errErrorEvent = errors.New("the server sent an error in the middle of the stream")
