//go:build !race

package dashboard_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// TestHostile puts injection strings into every field of others. Pages must have the same
// outline as with a harmless word, and the whole string as text.
func TestHostile(t *testing.T) {
	plain := build(t, func(string) string { return "word" })
	outlines := map[int][]string{}
	paths := plain.pages()
	for i, path := range paths {
		outlines[i] = outline(t, plain.page(path))
	}
	if n := len(dashboardtest.Hostile); n != 40 {
		t.Fatalf("there are %d strings", n)
	}
	for i, hostile := range dashboardtest.Hostile {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := build(t, func(string) string { return hostile })
			for j, path := range h.pages() {
				page := h.page(path)
				if got := outline(t, page); !slices.Equal(got, outlines[j]) {
					k := 0
					for k < min(len(got), len(outlines[j])) && got[k] == outlines[j][k] {
						k++
					}
					t.Errorf("%s differs from %s at element %d: %v, not %v", path, paths[j], k, got[k:min(len(got), k+3)], outlines[j][k:min(len(outlines[j]), k+3)])
				}
				inspect(t, path, page)
			}
			if page := h.page("/"); !strings.Contains(text(parse(t, page)), visible(hostile)) {
				t.Error("the overview does not show it whole")
			}
		})
	}
}

// TestHostileStreams checks that no text of others becomes an event or a line of one: every
// event belongs to the page, and has its outline.
func TestHostileStreams(t *testing.T) {
	plain := build(t, func(string) string { return "word" }, quick)
	first := func(h *harness) []sent {
		v := watch(t, h.serve()+"/events/")
		var all []sent
		for range 5 {
			e, ok := v.next()
			if !ok {
				t.Fatal("the stream ended")
			}
			all = append(all, e)
		}
		v.resp.Body.Close()
		return all
	}
	want := first(plain)
	for i, hostile := range dashboardtest.Hostile {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			h := build(t, func(string) string { return hostile }, quick)
			for j, e := range first(h) {
				if e.name != want[j].name || !slices.Equal(outline(t, e.data), outline(t, want[j].data)) {
					t.Errorf("event %d is %q, want %q, or it has another outline", j, e.name, want[j].name)
				}
			}
		})
	}
}

// text is all text of a page.
func text(n *html.Node) string {
	var b strings.Builder
	var all func(*html.Node)
	all = func(n *html.Node) {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			all(c)
		}
	}
	all(n)
	return b.String()
}

// visible returns a text as rendered in HTML: line ends become one, and there is no
// U+0000.
func visible(s string) string {
	return strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "").Replace(s)
}
