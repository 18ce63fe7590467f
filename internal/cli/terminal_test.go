package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile is text that would turn, hide or overwrite what a terminal shows: marks of
// direction, CSI in seven and in eight bits, OSC, a carriage return, a backspace,
// zero width, tags and separators.
const hostile = "a\u202eb\u2066c\x1b[2Jd\u009b31me\x1b]0;t\af\rg\bh\u200bi\u061cj\U000e0041k\u2028l"

// wantPlain asserts that text has no such characters.
func wantPlain(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s: got bytes that are not UTF-8: %q", what, text)
	}
	for _, r := range text {
		if unsafe(r) && r != '\n' && r != '\t' {
			t.Errorf("%s: got %U in %q", what, r, text)
			return
		}
	}
}

// foreignGateway answers every request with hostile text in every field that a
// server, a client or a file may choose.
func foreignGateway(t *testing.T, status int) *gateway {
	t.Helper()
	g := newGateway(t)
	quoted, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(text string) string { return strings.ReplaceAll(text, "X", string(quoted)) }
	batch := `{"id":"batch_1","object":"batch","endpoint":X,"status":"failed","input_file_id":X,"completion_window":X,"created_at":1,"model":X,"pause_reason":X,"paused":true,
		"metadata":{"k":X},"errors":{"object":"list","data":[{"code":X,"message":X,"param":X,"line":1}]},"request_counts":{"total":1,"completed":0,"failed":1}}`
	line := `{"object":"batch.line","line":1,"custom_id":X,"status":X,"error":X,"upstream":X,"input":{"a":X},"result":{"b":X}}`
	file := `{"id":"file-1","object":"file","filename":X,"purpose":X,"bytes":1,"created_at":1}`
	list := func(items string) string { return `{"object":"list","data":[` + items + `],"has_more":false}` }
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		path := r.URL.Path
		answer := batch
		switch {
		case status != http.StatusOK:
			answer = `{"error":{"message":X,"type":X,"param":X,"code":X}}`
		case path == "/v1/models":
			answer = list(`{"id":X,"object":"model","owned_by":X,"root":X}`)
		case path == "/v1/audit":
			answer = list(`{"object":"audit.entry","id":X,"action":X,"outcome":X,"target":X,"tenant":X,"detail":X,"key_id":X,"key_name":X,"via":X,"address":X,"request_id":X}`)
		case path == "/upstreams":
			answer = list(`{"object":"upstream","url":X,"state":X,"reason":X,"models":[X]}`)
		case path == "/doctor":
			answer = `{"object":"doctor.report","checks":[{"area":X,"name":X,"verdict":X,"found":X,"remedy":X}]}`
		case path == "/v1/files":
			answer = list(file)
		case strings.HasPrefix(path, "/v1/files/"):
			answer = file
		case path == "/v1/batches":
			answer = list(batch)
		case strings.HasSuffix(path, "/lines"):
			answer = list(line)
		case strings.Contains(path, "/lines/"):
			answer = line
		}
		fmt.Fprint(w, fill(answer))
		panic(answeredByHook{})
	})
	return g
}

// showing are the commands that print text of others.
var showing = [][]string{
	{"models"},
	{"upstreams"},
	{"doctor"},
	{"audit"},
	{"files", "list"},
	{"batch", "list"},
	{"batch", "show", "batch_1"},
	{"batch", "lines", "batch_1"},
	{"batch", "line", "batch_1", "1"},
	{"batch", "wait", "batch_1"},
	{"batch", "pause", "batch_1"},
	{"batch", "resume", "batch_1"},
	{"batch", "cancel", "batch_1"},
	{"batch", "retry", "batch_1"},
	{"batch", "estimate", "batch_1"},
}

// TestHostileTextIsMadeHarmless checks that no command prints control characters or
// bidirectional marks from a server, a client or a file on a terminal. JSON has them
// escaped.
func TestHostileTextIsMadeHarmless(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
		g := foreignGateway(t, status)
		shown := 0
		for _, command := range showing {
			name := fmt.Sprintf("%d %s", status, strings.Join(command, " "))
			got := g.run(command...)
			wantPlain(t, name, got.out)
			wantPlain(t, name, got.err)
			wantPlain(t, name, fmt.Sprint(got.error))
			shown += strings.Count(got.out+got.err+fmt.Sprint(got.error), "\ufffd")

			asJSON := g.run(append(command, "--json")...)
			wantPlain(t, name+" --json", asJSON.out)
			wantPlain(t, name+" --json", asJSON.err)
			var v any
			for text := range strings.Lines(asJSON.out) {
				if err := json.Unmarshal([]byte(text), &v); err != nil {
					t.Errorf("%s --json: %v in %q", name, err, text)
				}
			}
		}
		if shown < 50 {
			t.Errorf("only %d characters were replaced: the commands show nothing", shown)
		}
	}
}

// Escaping keeps the value.
func TestEscapeJSON(t *testing.T) {
	var out strings.Builder
	if err := writeJSON(&out, map[string]string{"k": hostile}); err != nil {
		t.Fatal(err)
	}
	wantPlain(t, "JSON", out.String())
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["k"] != hostile {
		t.Errorf("got %q, %v; want %q", back["k"], err, hostile)
	}
}

// Bytes that are not UTF-8 may be C1 control characters on a terminal.
func TestTerminalReplacesBytes(t *testing.T) {
	var out strings.Builder
	n, err := fmt.Fprint(terminal{&out}, "a\x9b31mb\n\tc")
	if err != nil || n != 9 || out.String() != "a\ufffd31mb\n\tc" {
		t.Errorf("got %d, %v, %q", n, err, out.String())
	}
}
