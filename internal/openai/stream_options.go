package openai

import (
	"bytes"
	"slices"
)

// Edit is a change of a text: the Cut bytes from At on are replaced by Insert.
type Edit struct {
	At, Cut int
	Insert  []byte
}

// Apply returns the changed text. text is not changed.
func (e Edit) Apply(text []byte) []byte {
	return slices.Concat(text[:e.At], e.Insert, text[e.At+e.Cut:])
}

// Growth returns by how many bytes the text becomes longer.
func (e Edit) Growth() int { return len(e.Insert) - e.Cut }

var streamKey = []byte("stream")

// AskForUsage returns the change of the body of a chat completion or a completion by which
// the server reports the usage of the stream in an event of its own. ok is false when nothing
// has to be changed: the request is not streamed, the client asks for the usage itself, or it
// leaves that to the server with a stream_options that does not have include_usage (vLLM then
// sends the usage). A body that servers refuse stays as it is.
//
// Values are read as vLLM reads them (Python's json, the last of several members counts; and
// Pydantic's booleans, https://docs.pydantic.dev/latest/concepts/conversion_table/).
// continuous_usage_stats has no effect in vLLM without include_usage, so it is switched off
// together with switching that on.
func AskForUsage(body []byte) (e Edit, ok bool) {
	if !bytes.Contains(body, streamKey) {
		return Edit{}, false
	}
	m := membersOf(body)
	var stream, options []byte
	at := 0
	for m.next() {
		switch string(m.name()) {
		case "stream":
			stream = m.value
		case "stream_options":
			options, at = m.value, m.i-len(m.value)
		}
	}
	if on, valid := boolean(stream); m.state != walkEnded || !valid || !on {
		return Edit{}, false
	}
	switch {
	case options == nil:
		return Edit{At: skipSpace(body, 0) + 1, Insert: []byte(`"stream_options":{"include_usage":true},`)}, true
	case isNull(options):
		return Edit{At: at, Cut: len(options), Insert: []byte(`{"include_usage":true}`)}, true
	}
	with, ok := switchUsageOn(options)
	return Edit{At: at, Cut: len(options), Insert: with}, ok
}

// switchUsageOn returns a stream_options with include_usage instead of one that has it
// switched off.
func switchUsageOn(options []byte) (with []byte, ok bool) {
	var usage, continuous Edit
	var include, stats []byte
	m := membersOf(options)
	for m.next() {
		switch string(m.name()) {
		case "include_usage":
			include, usage = m.value, Edit{m.i - len(m.value), len(m.value), []byte("true")}
		case "continuous_usage_stats":
			stats, continuous = m.value, Edit{m.i - len(m.value), len(m.value), []byte("false")}
		}
	}
	if m.state != walkEnded || include == nil {
		return nil, false
	}
	if on, valid := boolean(include); on || !valid && !isNull(include) {
		return nil, false
	}
	edits := []Edit{usage}
	if on, _ := boolean(stats); on {
		edits = append(edits, continuous)
	}
	slices.SortFunc(edits, func(a, b Edit) int { return b.At - a.At }) // the last first, so that positions stay
	with = options
	for _, e := range edits {
		with = e.Apply(with)
	}
	return with, true
}

// boolean returns a raw value as Pydantic reads a boolean. valid is false for one that it
// refuses.
func boolean(raw []byte) (on, valid bool) {
	if len(raw) == 0 || len(raw) > maxBoolean {
		return false, false
	}
	text := raw
	if raw[0] == '"' {
		text = bytes.ToLower([]byte(unquote(raw)))
	}
	switch string(text) {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	if raw[0] != '"' {
		return string(text) == "1.0", string(text) == "1.0" || string(text) == "0.0"
	}
	switch string(text) {
	case "t", "yes", "y", "on":
		return true, true
	case "f", "no", "n", "off":
		return false, true
	}
	return false, false
}

// maxBoolean is the length of the longest value that boolean reads, in bytes: false with all
// letters escaped.
const maxBoolean = 32

// IsUsageEvent reports whether the data of an event of a chat completion or a completion has
// nothing but its usage: an empty list of choices, a usage that is an object, and no error.
func IsUsageEvent(data []byte) bool {
	var choices, usage, failure []byte
	m := membersOf(data)
	for m.next() {
		switch string(m.name()) {
		case "choices":
			choices = m.value
		case "usage":
			usage = m.value
		case "error":
			failure = m.value
		}
	}
	return m.state == walkEnded && len(usage) > 0 && usage[0] == '{' && (failure == nil || isNull(failure)) &&
		len(choices) > 1 && choices[0] == '[' && len(trimSpace(choices[1:len(choices)-1])) == 0
}
