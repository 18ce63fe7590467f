package openai

import (
	"strings"
	"testing"
)

func TestScanResult(t *testing.T) {
	for name, tt := range map[string]struct {
		line      []byte
		id        string
		status    int
		body, err string
	}{
		"answered":     {AppendResponseLine(nil, "r", "a\"\u2028b", 429, "q", []byte(`{"error":{"message":"no"}}`)), "a\"\u2028b", 429, `{"error":{"message":"no"}}`, "null"},
		"unanswered":   {AppendErrorLine(nil, "r", "x", "batch_expired", "too late"), "x", 0, "", `{"code":"batch_expired","message":"too late"}`},
		"nothing":      {nil, "", 0, "", ""},
		"no JSON":      {[]byte("<html>"), "", 0, "", ""},
		"odd response": {[]byte(`{"custom_id":7,"response":[],"error":1}`), "", 0, "", "1"},
	} {
		h := ScanResult(tt.line)
		if h.CustomID != tt.id || h.Status != tt.status || string(h.Body) != tt.body || string(h.Error) != tt.err {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// TestScanCustomID checks that the beginning of a line is sufficient.
func TestScanCustomID(t *testing.T) {
	id := strings.Repeat("ä", 512)
	line := AppendResponseLine(nil, "r", id, 200, "q", []byte(`{"x":"`+strings.Repeat("y", 1<<20)+`"}`))
	if got := ScanCustomID(line[:16<<10]); got != id {
		t.Errorf("got %q", got)
	}
	if got := ScanCustomID(line[:20]); got != "" {
		t.Errorf("of half an id: %q", got)
	}
}
