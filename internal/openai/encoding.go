package openai

import "bytes"

// TrimBOM drops the byte order mark of UTF-8 from the beginning of b.
func TrimBOM(b []byte) []byte { return bytes.TrimPrefix(b, bom) }

// UTF16 returns the name of the encoding of a text that begins with head, or "" if it is
// not UTF-16 or UTF-32. A text without a byte order mark is assumed to begin with ASCII,
// like JSON.
func UTF16(head []byte) string {
	has := func(prefix string) bool { return bytes.HasPrefix(head, []byte(prefix)) }
	switch {
	case has("\xff\xfe\x00\x00"), has("\x00\x00\xfe\xff"):
		return "UTF-32"
	case has("\xff\xfe"):
		return "UTF-16 (little-endian)"
	case has("\xfe\xff"):
		return "UTF-16 (big-endian)"
	case len(head) < 4:
		return ""
	case head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0:
		return "UTF-16 (little-endian)"
	case head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0:
		return "UTF-16 (big-endian)"
	}
	return ""
}

// ModelOfPart finds the member `model` in the beginning of a body. ok is false
// when it is not there yet, or is no usable name.
func ModelOfPart(head []byte) (model string, ok bool) {
	for m := membersOf(head); m.next(); {
		if string(m.name()) == "model" {
			model = unquote(m.value)
			return model, model != ""
		}
	}
	return "", false
}

// EmptyObject reports whether a body is a JSON object without members.
func EmptyObject(body []byte) bool {
	m := membersOf(body)
	return !m.next() && m.state == walkEnded
}
