package dashboard_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// facts returns the facts of a page by name.
func facts(t *testing.T, page string) map[string]string {
	t.Helper()
	all, name := make(map[string]string), ""
	walk(parse(t, page), func(n *html.Node) {
		if n.Data != "dt" && n.Data != "dd" {
			return
		}
		var text strings.Builder
		for c := range n.Descendants() {
			if c.Type == html.TextNode {
				text.WriteString(c.Data + " ")
			}
		}
		words := strings.Join(strings.Fields(text.String()), " ")
		if n.Data == "dt" {
			name = words
		} else {
			all[name] = words
		}
	})
	return all
}

// TestPrefixHitsAreShown checks that the pages of a batch and of a server show what their
// prefix caches saved.
func TestPrefixHitsAreShown(t *testing.T) {
	h := build(t, nil)
	saved := 0
	ids := h.IDs()[:20]
	for _, id := range ids {
		shown := facts(t, h.page("/batches/"+id))
		if got, ok := shown["Prefix cache"]; ok {
			saved++
			if !strings.HasPrefix(got, "saved ") || !strings.HasSuffix(got, " prompt tokens 38 %") {
				t.Errorf("%s: got %q, want the saved prompt tokens of all and 38 %%", id, got)
			}
		} else if shown["Tokens in"] == "" {
			t.Errorf("%s: got %v, want the tokens of the prompts", id, shown)
		}
	}
	if saved == 0 || saved == len(ids) {
		t.Errorf("got %d batches of %d with saved tokens, want some", saved, len(ids))
	}
	if got, want := facts(t, h.page("/upstreams/"+h.upstreamKey()))["Prefix cache hits"], "42 % live, 95 % batch, meta-llama"; !strings.HasPrefix(got, want) {
		t.Errorf("got prefix cache hits %q, want %q", got, want)
	}
}
