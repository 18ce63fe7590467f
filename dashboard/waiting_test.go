package dashboard_test

import (
	"strings"
	"testing"
)

// Requests that wait in the gateway are on the first page and above the servers,
// and there is no word of them when none waits.
func TestWaitingRequests(t *testing.T) {
	h := build(t, nil)
	want := []string{
		"12 live requests wait for a server of qwen2.5-72b-instruct, the first for 3 s",
		"1 flex request waits for a server of qwen2.5-72b-instruct, the first for 41 s",
	}
	for _, path := range []string{"/", "/upstreams"} {
		page := h.page(path)
		for _, line := range want {
			if !strings.Contains(page, line) {
				t.Errorf("%s does not say %q", path, line)
			}
		}
	}
	h = build(t, nil)
	h.Calm()
	for _, path := range []string{"/", "/upstreams"} {
		if strings.Contains(h.page(path), "for a server of") {
			t.Errorf("%s speaks of waiting requests when none waits", path)
		}
	}
}
