package upstreams

import (
	"io"
	"strings"
	"testing"
)

// relayedEvents relays parts, one per read, and returns the client's data after each.
func relayedEvents(parts ...string) []string {
	var (
		got  []string
		b    []byte
		sent byte
	)
	for _, part := range parts {
		held := len(b)
		b = append(b, part...)
		n := eventEnd(b, held, sent, false)
		if n > 0 {
			sent = b[n-1]
		}
		got = append(got, string(b[:n]))
		b = b[n:]
	}
	return got
}

func TestEventEnd(t *testing.T) {
	for name, c := range map[string]struct {
		parts string // reads, separated by |
		want  string // what the client gets after each
	}{
		"LF":                        {"data: a\n\n|data: b\n\n", "data: a\n\n|data: b\n\n"},
		"CRLF":                      {"data: a\r\n\r\n|data: b\r\n\r\n", "data: a\r\n\r\n|data: b\r\n\r\n"},
		"CR":                        {"data: a\r\r|data: b\r\r", "data: a\r\r|data: b\r\r"},
		"LF then CRLF":              {"data: a\n\r\n|data: b\n\r\n", "data: a\n\r\n|data: b\n\r\n"},
		"CRLF then LF":              {"data: a\r\n\n|data: b\r\n\n", "data: a\r\n\n|data: b\r\n\n"},
		"LF then CR":                {"data: a\n\r|data: b\n\r", "data: a\n\r|data: b\n\r"},
		"CRLF then CR":              {"data: a\r\n\r|data: b\r\n\r", "data: a\r\n\r|data: b\r\n\r"},
		"a CR, its LF later":        {"data: a\r\n\r|\ndata: b\r\n\r|\n", "data: a\r\n\r|\ndata: b\r\n\r|\n"},
		"mixed in one read, LF end": {"data: a\r\n\r\ndata: b\n\ndata: c", "data: a\r\n\r\ndata: b\n\n"},
		"mixed in one read, CR end": {"data: a\n\ndata: b\r\rdata: c", "data: a\n\ndata: b\r\r"},
		"mixed in one read, CRLF":   {"data: a\n\ndata: b\r\n\r\ndata: c\r\n", "data: a\n\ndata: b\r\n\r\n"},
		"cut in two":                {"data: a\r|\n\n", "|data: a\r\n\n"},
		"cut in four":               {"data: a\r|\n|\r|\n", "||data: a\r\n\r|\n"},
		"no end":                    {"data: a\r\n|data: b\n|data: c\r|data: d", "|||"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(relayedEvents(strings.Split(c.parts, "|")...), "|"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEventEndBehindAPartOfAnEvent(t *testing.T) {
	for name, c := range map[string]struct {
		sent byte
		b    string
		want int
	}{
		"LF, then LF":     {'\n', "\ndata: b", 1},
		"CR, then CR":     {'\r', "\r", 1},
		"CR, then its LF": {'\r', "\n", 0},
		"CR, LF, LF":      {'\r', "\n\n", 2},
		"text, then LF":   {'x', "\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := eventEnd([]byte(c.b), 0, c.sent, true); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// FuzzEventEnd compares reads of every size with a parser of lines.
func FuzzEventEnd(f *testing.F) {
	f.Add("data: a\n\r\ndata: b\r\r\n\n", uint8(3))
	f.Add("a\r\n\r\nb\n\nc\r\r", uint8(1))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		ends := make(map[int]bool) // where an event may end
		blank, cr := true, false
		for i := range len(text) {
			switch c := text[i]; {
			case c == '\n' && cr:
				ends[i+1], cr = ends[i], false
			case endsLine(c):
				ends[i+1], blank, cr = blank, true, c == '\r'
			default:
				blank, cr = false, false
			}
		}
		r, at := strings.NewReader(text), 0
		part := make([]byte, max(1, int(size)))
		var parts []string
		for {
			n, err := r.Read(part)
			if err == io.EOF {
				break
			}
			parts = append(parts, string(part[:n]))
		}
		read := 0
		for i, got := range relayedEvents(parts...) {
			at += len(got)
			read += len(parts[i])
			if len(got) > 0 && !ends[at] {
				t.Fatalf("%q: relayed up to %d, which is no end of an event", text, at)
			}
			for end := at + 1; end <= read; end++ {
				if ends[end] && strings.Trim(text[at:end], "\r\n") != "" {
					t.Fatalf("%q: %d bytes read, event up to %d held back at %d", text, read, end, at)
				}
			}
		}
	})
}
