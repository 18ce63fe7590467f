package browser

import (
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// ways returns the variants in which pages are tested: two widths, two themes, with and
// without JavaScript, and the widths in between.
func ways() []looks {
	all := []looks{desktop, phone, desktop.inDark(), phone.inDark()}
	for _, l := range all[:4:4] {
		all = append(all, l.withoutScript())
	}
	return append(all, tablet, laptop)
}

// TestPages opens every page in every variant: no page is wider than the screen, each has a
// title, the console has no errors, and a screenshot of each is kept.
func TestPages(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	for _, l := range ways() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := enter(t, h, l)
			p.simple()
			pages := h.pages()
			if !l.script {
				pages = h.kinds()
			}
			for _, page := range pages {
				p.look(h, page)
				p.narrow(page.name)
				if got := evaluate[int](p, `document.querySelectorAll('h1').length`); got != 1 {
					t.Errorf("%s has %d first headings", page.name, got)
				}
				if l.script {
					p.shoot(page.name)
				}
				p.quiet()
			}
		})
	}
}

// TestExtremes checks an unused gateway, one with very large numbers, one with long names,
// and one whose store is unavailable.
func TestExtremes(t *testing.T) {
	t.Parallel()
	unused := start(t, nil)
	unused.Clear()
	huge := start(t, nil)
	huge.Grow(9_999)
	long := start(t, func(plain string) string {
		return plain + " " + strings.Repeat("and-so-on.", 12) + " and so on, and so on"
	})
	away := start(t, nil)
	away.FailWith(batch.ErrUnavailable)
	for _, h := range []*harness{huge, long} {
		h.Keep(16)
	}
	for _, l := range []looks{desktop, laptop, tablet, phone} {
		for _, v := range []struct {
			name    string
			harness *harness
			pages   []page
		}{
			{"unused", unused, roots()},
			{"huge", huge, huge.telling()},
			{"long", long, long.telling()},
			{"away", away, roots()},
		} {
			t.Run(v.name+"-"+l.name, func(t *testing.T) {
				t.Parallel()
				p := enter(t, v.harness, l)
				p.simple()
				p.expect("503 (Service Unavailable)")
				for _, page := range v.pages {
					p.visit(v.harness.url + page.path)
					p.narrow(v.name + " " + page.name)
					p.shoot(v.name + "-" + page.name)
				}
				p.quiet()
			})
		}
	}
}

// telling are the pages that look different when numbers or names do.
func (h *harness) telling() []page {
	names := []string{
		"overview", "throughput-30d", "batches", "batch-running", "batch-errors", "lines-failed", "line-failed",
		"cancel", "new-findings", "files", "upstreams", "upstream", "drain", "doctor", "keys", "key-replace",
	}
	return slices.DeleteFunc(h.pages(), func(p page) bool { return !slices.Contains(names, p.name) })
}
