package dashboard_test

import (
	"strings"
	"testing"
)

// TestLongResultIsCut checks that the page of a line shows at most 64 KiB of its result, and
// says so; the input of the same line is short and complete.
func TestLongResultIsCut(t *testing.T) {
	h := build(t, nil)
	page := h.page("/batches/" + h.IDs()[9] + "/lines/1")
	if got, want := strings.Count(page, "Only the beginning is shown."), 1; got != want {
		t.Errorf("got %d notices that a text is cut, want %d", got, want)
	}
	_, raw, found := strings.Cut(page, `<pre id="raw-result"`)
	raw, _, _ = strings.Cut(raw, "</pre>")
	if n := len(raw); !found || n < 64<<10 || n > 66<<10 {
		t.Errorf("got a result of %d bytes, want 64 KiB", n)
	}
}

// TestLineStates checks the names of states in URLs: an unknown one filters nothing.
func TestLineStates(t *testing.T) {
	h := build(t, nil)
	for state, want := range map[string]string{"": "all", "waiting": "waiting", "completed": "completed", "failed": "failed", "pending": "all"} {
		page := h.page("/batches/" + h.IDs()[9] + "/lines?state=" + state)
		_, tabs, _ := strings.Cut(page, "<h1>Lines</h1>")
		tabs, _, _ = strings.Cut(tabs, "</nav>")
		_, current, _ := strings.Cut(tabs, `aria-current="page">`)
		if got, _, _ := strings.Cut(current, "<"); got != want {
			t.Errorf("state=%s: got the lines of %q, want %q", state, got, want)
		}
	}
}
