package openai

import "bytes"

// StreamScanner watches a streamed answer (server-sent events,
// https://html.spec.whatwg.org/multipage/server-sent-events.html) while it
// passes, for its usage and its end. The chunks may be cut anywhere. A line of
// more than 1 MiB is passed over: its usage is lost, not its being there. The
// zero value is ready. It is not safe for concurrent use.
type StreamScanner struct {
	held     []byte // of an incomplete line
	overlong bool   // the line is too long; held has its beginning only
	cr       bool   // the last line ended in CR: an LF belongs to it

	event     eventKind // from the event's name
	eventData bool      // the event has data

	events int64
	ended  bool
	usages int64 // events with usage
	counts counts
	model  string
}

const (
	// streamLine is the number of bytes of a line that are scanned. A
	// response.completed repeats the whole answer; this is about 250,000 tokens.
	streamLine = 1 << 20
	// streamKeep limits the buffer that is kept from line to line, in bytes.
	streamKeep = 64 << 10
)

// eventKind is the kind of an event.
type eventKind byte

const (
	otherEvent eventKind = iota
	finalEvent
	messageDelta
)

func eventKindOf(name []byte) eventKind {
	switch string(name) {
	case "response.completed", "response.failed", "response.incomplete", "message_stop":
		return finalEvent
	case "message_delta":
		return messageDelta
	default:
		return otherEvent
	}
}

// Write scans the next bytes of the stream. It accepts all of p and never fails.
func (s *StreamScanner) Write(p []byte) (int, error) {
	n := len(p)
	if s.cr && len(p) > 0 {
		s.cr = false
		if p[0] == '\n' {
			p = p[1:]
		}
	}
	for len(p) > 0 {
		line, rest, ok := s.cut(p)
		if !ok {
			s.hold(p)
			break
		}
		p = rest
		if len(s.held) == 0 && len(line) <= streamLine {
			s.line(line)
			continue
		}
		s.hold(line)
		s.line(s.held)
		s.overlong = false
		if s.held = s.held[:0]; cap(s.held) > streamKeep {
			s.held = nil
		}
	}
	return n, nil
}

// cut takes a line off p: LF, CRLF and CR end one.
func (s *StreamScanner) cut(p []byte) (line, rest []byte, ok bool) {
	lf := bytes.IndexByte(p, '\n')
	line = p
	if lf >= 0 {
		line = p[:lf]
	}
	cr := bytes.IndexByte(line, '\r')
	switch {
	case cr < 0 && lf < 0:
		return nil, p, false
	case cr < 0:
		return line, p[lf+1:], true
	case cr == lf-1:
		return p[:cr], p[lf+1:], true
	default:
		s.cr = cr == len(p)-1
		return p[:cr], p[cr+1:], true
	}
}

// hold keeps a part of a line.
func (s *StreamScanner) hold(part []byte) {
	if len(s.held)+len(part) > streamLine {
		s.overlong = true
		s.held = append(s.held, part[:min(len(part), len(fieldData))]...)[:len(fieldData)]
		return
	}
	if !s.overlong {
		s.held = append(s.held, part...)
	}
}

const (
	fieldData  = "data:"
	fieldEvent = "event:"
)

func (s *StreamScanner) line(line []byte) {
	switch {
	case len(line) == 0:
		s.event, s.eventData = otherEvent, false
	case len(line) >= len(fieldData) && string(line[:len(fieldData)]) == fieldData:
		if !s.eventData {
			s.eventData = true
			s.events++
		}
		if s.event == finalEvent {
			s.ended = true
		}
		if !s.overlong {
			s.data(trimSpace(line[len(fieldData):]))
		}
	case len(line) >= len(fieldEvent) && string(line[:len(fieldEvent)]) == fieldEvent && !s.overlong:
		s.event = eventKindOf(trimSpace(line[len(fieldEvent):]))
	}
}

// data scans the data of an event. Most events are excluded by a search for names: a name
// between unescaped quotes cannot be inside a string.
func (s *StreamScanner) data(data []byte) {
	if string(data) == "[DONE]" {
		s.ended = true
		return
	}
	kind := s.event
	if kind == otherEvent {
		if kind = eventKindOf(typeOf(data)); kind == finalEvent {
			s.ended = true
		}
	}
	if hasUsage(data) {
		s.usage(data, kind)
	}
}

var (
	typeFirst = []byte(`{"type":"`)
	typeLast  = []byte(`"type":"`)
)

// typeOf returns the member type of data if it is the first or last one, for servers that
// do not set the event's name.
func typeOf(data []byte) []byte {
	if name, ok := bytes.CutPrefix(data, typeFirst); ok {
		if before, _, ok := bytes.Cut(name, []byte{'"'}); ok {
			return before
		}
	}
	if name, ok := bytes.CutSuffix(data, []byte(`"}`)); ok {
		if start := bytes.LastIndexByte(name, '"') + 1; bytes.HasSuffix(name[:start], typeLast) {
			return name[start:]
		}
	}
	return nil
}

// usageKey has no quote at its beginning: a search for a letter stops less
// often than one for a quote.
var usageKey = []byte(`usage"`)

// hasUsage reports whether data may have a usage that is an object.
func hasUsage(data []byte) bool {
	for {
		i := bytes.Index(data, usageKey)
		if i < 0 {
			return false
		}
		data = data[i+len(usageKey):]
		colon := skipSpace(data, 0)
		if colon == len(data) || data[colon] != ':' {
			continue
		}
		if value := skipSpace(data, colon+1); value < len(data) && data[value] == '{' {
			return true
		}
	}
}

// usage takes the usage of an event, wherever its kind has it: at the top, in
// response (response.completed) or in message (message_start).
func (s *StreamScanner) usage(data []byte, kind eventKind) {
	var usage, model []byte
	for m := membersOf(data); m.next(); {
		switch string(m.name()) {
		case "usage":
			usage = m.value
		case "model":
			model = m.value
		case "response", "message":
			for inner := membersOf(m.value); inner.next(); {
				switch string(inner.name()) {
				case "usage":
					usage = inner.value
				case "model":
					model = inner.value
				}
			}
		case "type":
			switch eventKindOf(bytes.Trim(m.value, `"`)) {
			case messageDelta:
				kind = messageDelta
			case finalEvent:
				s.ended = true
			}
		}
	}
	c := scanCounts(usage)
	if c == (counts{}) {
		return
	}
	s.usages++
	if kind == messageDelta { // message_start had the other counts
		s.counts.overlay(c)
	} else {
		s.counts = c
	}
	if len(model) > 2 && model[0] == '"' && string(model[1:len(model)-1]) != s.model {
		s.model = unquote(model)
	}
}

// Usage is that of the last event that had one, and the model that it named.
func (s *StreamScanner) Usage() (u Usage, model string, ok bool) {
	u, ok = s.counts.usage()
	return u, s.model, ok
}

// Usages is the number of events that had a usage so far.
func (s *StreamScanner) Usages() int64 { return s.usages }

// Ended reports whether the stream has had its final event: [DONE] (chat completions,
// completions), response.completed, .failed or .incomplete (responses), or
// message_stop (messages).
func (s *StreamScanner) Ended() bool { return s.ended }

// Events is the number of events with data so far, [DONE] among them.
func (s *StreamScanner) Events() int64 { return s.events }
