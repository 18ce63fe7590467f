package openai

import (
	"encoding/json"
	"slices"
	"strings"
)

// CountMembers returns how many members of a name, in any case, the JSON object b has.
// Servers differ in which of several they use, and in whether case counts. It is false if b is not a valid JSON object: some servers
// read more than JSON, such as NaN, and would find members behind it.
func CountMembers(b []byte, name string) (n int, ok bool) {
	if !json.Valid(b) {
		return 0, false
	}
	m := membersOf(b)
	for m.next() {
		if strings.EqualFold(string(m.name()), name) {
			n++
		}
	}
	return n, m.state == walkEnded
}

// AddMember returns the JSON object b with one more member, whose value is JSON. It
// is false when b has a member of that name or is no object. b is not changed, and
// every other byte of it stays as it is.
func AddMember(b []byte, name, value string) (with []byte, ok bool) {
	m := membersOf(b)
	empty := true
	for m.next() {
		empty = false
		if string(m.name()) == name {
			return nil, false
		}
	}
	if m.state != walkEnded {
		return nil, false
	}
	first := skipSpace(b, 0) + 1
	member := `"` + name + `":` + value
	if !empty {
		member += ","
	}
	return slices.Concat(b[:first], []byte(member), b[first:]), true
}
