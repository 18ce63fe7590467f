package dashboard_test

import (
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// TestPages checks the rules that apply to every page.
func TestPages(t *testing.T) {
	h := build(t, nil)
	for _, path := range h.pages() {
		w := h.get(path)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
			continue
		}
		header := w.Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "Referrer-Policy": "same-origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		inspect(t, path, w.Body.String())
	}
}

// inspect checks for violations of the content security policy, and for problems of
// accessibility.
func inspect(t *testing.T, path, page string) {
	t.Helper()
	ids := map[string]bool{}
	var wanted []string
	titles, mains, h1s := 0, 0, 0
	root := parse(t, page)
	walk(root, func(n *html.Node) {
		switch n.Data {
		case "style":
			t.Errorf("%s has a style of its own", path)
		case "script":
			src, _ := attribute(n, "src")
			if !strings.HasPrefix(src, "/dashboard/assets/") || n.FirstChild != nil {
				t.Errorf("%s has a script of its own", path)
			}
		case "title":
			if n.Namespace == "" {
				titles++
			}
		case "main":
			mains++
		case "h1":
			h1s++
		case "form":
			method, _ := attribute(n, "method")
			action, _ := attribute(n, "action")
			if (method != "post" && method != "get") || !strings.HasPrefix(action, "/dashboard/") {
				t.Errorf("%s has a form to %s %q", path, method, action)
			}
		case "input", "select", "textarea":
			if kind, _ := attribute(n, "type"); kind != "hidden" && kind != "checkbox" {
				id, ok := attribute(n, "id")
				if !ok || !strings.Contains(page, `for="`+id+`"`) {
					t.Errorf("%s has a field %q without a label", path, id)
				}
			}
		}
		for _, a := range n.Attr {
			switch {
			case a.Key == "style", strings.HasPrefix(a.Key, "on"), strings.HasPrefix(a.Key, "hx-on"):
				t.Errorf("%s: <%s> has %s", path, n.Data, a.Key)
			case a.Key == "id":
				if ids[a.Val] {
					t.Errorf("%s has the id %q twice", path, a.Val)
				}
				ids[a.Val] = true
			case a.Key == "aria-labelledby", a.Key == "for":
				wanted = append(wanted, a.Val)
			case (a.Key == "href" || a.Key == "src" || a.Key == "action") && !strings.HasPrefix(a.Val, "/dashboard/") && a.Val != "#main":
				t.Errorf("%s leads to %q", path, a.Val)
			}
		}
	})
	for _, id := range wanted {
		if !ids[id] {
			t.Errorf("%s refers to the id %q, which does not exist", path, id)
		}
	}
	if titles != 1 || mains != 1 || h1s != 1 {
		t.Errorf("%s has %d titles, %d main and %d h1", path, titles, mains, h1s)
	}
}

// TestLinks follows every link of every page.
func TestLinks(t *testing.T) {
	h := build(t, nil)
	seen := map[string]bool{}
	var forms int
	for _, path := range h.pages() {
		walk(parse(t, h.page(path)), func(n *html.Node) {
			if action, ok := attribute(n, "action"); ok && n.Data == "form" {
				forms++
				if method, _ := attribute(n, "method"); method == "get" {
					seen[action] = true
				}
			}
			for _, name := range []string{"href", "src", "sse-connect"} {
				if to, ok := attribute(n, name); ok && to != "#main" && name != "sse-connect" {
					seen[to] = true
				}
			}
		})
	}
	if len(seen) < 200 || forms < 50 {
		t.Fatalf("only %d links and %d forms", len(seen), forms)
	}
	for to := range seen {
		w := h.get(strings.TrimPrefix(to, "/dashboard"))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", to, w.Code)
		}
	}
}

// outline is a page without its text: elements and names of attributes.
func outline(t *testing.T, page string) []string {
	t.Helper()
	var all []string
	walk(parse(t, page), func(n *html.Node) {
		line := n.Data
		for _, a := range n.Attr {
			line += " " + a.Key
			if a.Key == "class" {
				line += "=" + a.Val
			}
		}
		all = append(all, line)
	})
	return all
}
