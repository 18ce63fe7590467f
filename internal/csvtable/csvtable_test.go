package csvtable

import (
	"errors"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	var b strings.Builder
	table := NewWriter(&b, "name", "count")
	table.Row("-1", int64(-1))
	table.Row("a,\"b\"\nc", 2)
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "name,count\r\n'-1,-1\r\n\"a,\"\"b\"\"\r\nc\",2\r\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestFlushReturnsErrors(t *testing.T) {
	failed := errors.New("connection closed")
	table := NewWriter(failingWriter{failed}, "name")
	table.Row(strings.Repeat("x", 10_000))
	if err := table.Flush(); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
}

// TestText checks what spreadsheets would evaluate.
func TestText(t *testing.T) {
	for _, s := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "|calc", "%0A", " =1", "'=1"} {
		if got := text(s); got != "'"+s {
			t.Errorf("text(%q) is %q, want an apostrophe before it", s, got)
		}
	}
	for _, s := range []string{"", " ", "batch_1", "a=1", "http://gpu:8000", "é"} {
		if got := text(s); got != s {
			t.Errorf("text(%q) is %q, want it unchanged", s, got)
		}
	}
}
