package upstreams

import (
	"bytes"

	"github.com/tidegate/tidegate/internal/openai"
)

// usageSearch finds the usage in a JSON answer that arrives in parts, wherever it is: vLLM
// writes it at the end, but before the members prompt_logprobs and results, which may have
// megabytes. It searches for the bytes of the member's name, which is much faster than to
// follow the JSON. The zero value is ready.
//
// Unescaped quotes cannot occur inside of a string, so text that looks like usage is none.
// Members of that name in nested objects can occur, for example in a tool that the client has
// defined and the server repeats. So the usage with the most tokens counts: what a client
// adds cannot hide the server's.
type usageSearch struct {
	usage openai.Usage
	found bool
	carry []byte // the end of what was searched: an incomplete usage, or a part of its name
}

var usageName = []byte(`"usage"`)

// usageLimit limits the size of a usage with its name, in bytes.
const usageLimit = 4 << 10

// findUsage returns the usage of a JSON answer.
func findUsage(answer []byte) (openai.Usage, bool) {
	var s usageSearch
	s.write(answer)
	return s.usage, s.found
}

// write searches the next part of the answer. It does not keep part.
func (s *usageSearch) write(part []byte) {
	if len(s.carry) == 0 {
		s.keep(part, s.search(part))
		return
	}
	s.carry = append(s.carry, part[:min(len(part), usageLimit)]...)
	begin := s.search(s.carry)
	if len(part) <= usageLimit {
		s.keep(s.carry, begin)
		return
	}
	s.keep(part, s.search(part)) // what begins at its first byte or before is complete in carry
}

// search examines each usage in text, except at its first byte: there is none in JSON, or it
// was examined together with the byte before it. search returns where the bytes begin that
// have to be searched again with the next part.
func (s *usageSearch) search(text []byte) (again int) {
	again = max(0, len(text)-len(usageName)) // a part of the name, and the byte before
	for at := min(1, len(text)); ; at += len(usageName) {
		n := bytes.Index(text[min(at+1, len(text)):], usageName[1:]) // quotes are frequent, and slow
		if n < 0 {
			return again
		}
		at += n
		if text[at] != '"' || text[at-1] == '\\' {
			continue // in a string, or a part of another name
		}
		object := text[at:min(len(text), at+usageLimit)]
		if !maybeObject(object[len(usageName):]) {
			continue
		}
		if u, _, ok := openai.ScanUsage(append([]byte{'{'}, object...)); ok {
			s.add(u)
		} else if len(object) < usageLimit {
			again = min(again, at-1)
		}
	}
}

// maybeObject reports whether the text behind a name may be that behind the name of an
// object; it may be cut off.
func maybeObject(text []byte) bool {
	for _, c := range []byte{':', '{'} {
		text = bytes.TrimLeft(text, " \t\r\n")
		if len(text) == 0 {
			return true
		}
		if text[0] != c {
			return false
		}
		text = text[1:]
	}
	return true
}

// add takes a usage if none with more tokens was found.
func (s *usageSearch) add(u openai.Usage) {
	tokens := func(u openai.Usage) int64 { return max(u.TotalTokens, u.InputTokens+u.OutputTokens) }
	if !s.found || tokens(u) >= tokens(s.usage) {
		s.usage, s.found = u, true
	}
}

// keep makes text from at on the carry.
func (s *usageSearch) keep(text []byte, at int) { s.carry = append(s.carry[:0], text[at:]...) }
