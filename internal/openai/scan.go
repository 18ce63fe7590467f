package openai

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The functions of this file scan JSON without validating it: strings are skipped from
// quote to quote, containers by counting brackets. For a long prompt this takes a quarter
// of a tokenizer's time, and the receiver parses the bytes anyway. They take linear time
// on any input, without recursion.

// members walks over the members of an object.
type members struct {
	b          []byte
	i          int    // of the next byte
	key, value []byte // of the current member: key without its quotes, both raw; no value if the input ends within it
	state      walkState
}

type walkState byte

const (
	walking walkState = iota
	walkEnded
	walkCut   // the input ends before the object does
	walkWrong // not JSON
)

// membersOf begins a walk. The state is walkWrong when b is not an object.
func membersOf(b []byte) members {
	m := members{b: b, i: skipSpace(b, 0)}
	switch {
	case m.i == len(b):
		m.state = walkCut
	case b[m.i] != '{':
		m.state = walkWrong
	default:
		m.i++
	}
	return m
}

// next advances to the next member and reports whether there is one. If not, state has the
// reason.
func (m *members) next() bool {
	if m.state != walking {
		return false
	}
	first := m.value == nil
	m.key, m.value = nil, nil
	c, ok := m.peek()
	if !ok {
		return false
	}
	if c == '}' {
		m.state = walkEnded
		m.i++
		return false
	}
	if !first {
		if c != ',' {
			return m.fail(walkWrong)
		}
		m.i++
		if c, ok = m.peek(); !ok {
			return false
		}
	}
	if c != '"' {
		return m.fail(walkWrong)
	}
	end := skipString(m.b, m.i)
	if end < 0 {
		return m.fail(walkCut)
	}
	m.key = m.b[m.i+1 : end-1]
	m.i = end
	if c, ok = m.peek(); !ok {
		return false
	}
	if c != ':' {
		return m.fail(walkWrong)
	}
	m.i++
	if _, ok = m.peek(); !ok {
		return false
	}
	end, state := skipValue(m.b, m.i)
	if state != walking {
		return m.fail(state)
	}
	m.value = m.b[m.i:end]
	m.i = end
	return true
}

// peek returns the next byte that is no whitespace.
func (m *members) peek() (byte, bool) {
	if m.i < len(m.b) && m.b[m.i] > ' ' {
		return m.b[m.i], true
	}
	if m.i = skipSpace(m.b, m.i); m.i == len(m.b) {
		return 0, m.fail(walkCut)
	}
	return m.b[m.i], true
}

func (m *members) fail(state walkState) bool {
	m.state = state
	return false
}

// name returns the name of the current member without escapes.
func (m *members) name() []byte {
	if bytes.IndexByte(m.key, '\\') < 0 {
		return m.key
	}
	quoted := append(make([]byte, 0, len(m.key)+2), '"')
	return []byte(unquote(append(append(quoted, m.key...), '"')))
}

// skipSpace returns the index of the first byte from i on that is not JSON's
// whitespace.
func skipSpace(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

func trimSpace(b []byte) []byte {
	b = b[skipSpace(b, 0):]
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// skipString returns the index after the string that begins at b[i], -1 when it
// does not end.
func skipString(b []byte, i int) int {
	for j := i + 1; ; {
		k := bytes.IndexByte(b[j:], '"')
		if k < 0 {
			return -1
		}
		j += k + 1
		escapes := j - 2
		for escapes > i && b[escapes] == '\\' {
			escapes--
		}
		if (j-2-escapes)%2 == 0 {
			return j
		}
	}
}

// Classes of the bytes that matter outside of strings.
const (
	plain byte = iota
	quote
	opening
	closing
	space
)

var class = [256]byte{
	'"': quote, '{': opening, '[': opening, '}': closing, ']': closing,
	' ': space, '\n': space, '\r': space, '\t': space,
}

// skipValue returns the index after the value that begins at b[i]. The state is
// walking when there is one.
func skipValue(b []byte, i int) (int, walkState) {
	switch c := b[i]; {
	case c == '"':
		if end := skipString(b, i); end >= 0 {
			return end, walking
		}
		return 0, walkCut
	case c == '{', c == '[':
		return skipContainer(b, i)
	case c == '-', '0' <= c && c <= '9', c == 't', c == 'f', c == 'n':
		for i < len(b) && class[b[i]] == plain && b[i] != ',' && b[i] != ':' {
			i++
		}
		if i == len(b) { // it may continue
			return 0, walkCut
		}
		return i, walking
	default:
		return 0, walkWrong
	}
}

func skipContainer(b []byte, i int) (int, walkState) {
	for depth := 0; i < len(b); i++ {
		switch class[b[i]] {
		case quote:
			end := skipString(b, i)
			if end < 0 {
				return 0, walkCut
			}
			i = end - 1
		case opening:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i + 1, walking
			}
		}
	}
	return 0, walkCut
}

// deeper reports whether containers are nested more than limit deep.
func deeper(b []byte, limit int) bool {
	if bytes.Count(b, []byte{'{'})+bytes.Count(b, []byte{'['}) <= limit {
		return false // independent of the contents of strings
	}
	depth := 0
	for i := 0; i < len(b); i++ {
		switch class[b[i]] {
		case quote:
			end := skipString(b, i)
			if end < 0 {
				return false
			}
			i = end - 1
		case opening:
			if depth++; depth > limit {
				return true
			}
		case closing:
			depth--
		}
	}
	return false
}

// unquote decodes a raw JSON string, or returns "" for another value. Invalid Unicode
// becomes U+FFFD.
func unquote(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return strings.ToValidUTF8(string(raw[1:len(raw)-1]), "\uFFFD")
	}
	// The error only reports replaced characters, or that the remainder is
	// lost.
	decoded, _ := jsontext.AppendUnquote(nil, raw)
	return string(decoded)
}

// kindOf names the type of a raw value with its article.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

func isNull(raw []byte) bool { return raw[0] == 'n' }
