package browser

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// controls is everything that can be reached, in the order of the page.
const controls = `Array.from(document.querySelectorAll('a[href], button:not([disabled]), input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')).filter(e => e.checkVisibility())`

// follow makes the page note where the keyboard goes, by the control's number,
// and whether that can be seen.
const follow = `(() => {
	const all = ` + controls + `
	window.visited = []
	window.unseen = []
	addEventListener('focusin', e => {
		const n = all.indexOf(e.target)
		if (n === visited.at(-1)) return // a date has several places
		visited.push(n)
		const style = getComputedStyle(e.target)
		const box = e.target.getBoundingClientRect()
		const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
		const within = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth
		if (!outlined || !within) unseen.push(e.target.outerHTML.slice(0, 120) + JSON.stringify(box))
	})
	return all.length
})()`

// TestKeyboard moves through every page with Tab: each control gets the focus in the order
// of the page, and the focus is visible.
func TestKeyboard(t *testing.T) {
	t.Parallel()
	h := startAt(t, nil, func() time.Time { return morning }) // no data changes meanwhile
	h.Keep(13)
	for _, l := range []looks{desktop, phone.inDark()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			l.calm = true // what is reached is there at once
			p := enter(t, h, l)
			p.simple()
			for _, page := range h.kinds() {
				p.look(h, page)
				n := evaluate[int](p, follow)
				keys := make([]action, 0, n)
				for range n + 12 { // a date has up to four places
					keys = append(keys, chromedp.KeyEvent(kb.Tab))
				}
				p.do(keys...)
				want := make([]int, n)
				for i := range want {
					want[i] = i
				}
				visited := evaluate[[]int](p, `window.visited`)
				if len(visited) < n || !slices.Equal(visited[:n], want) {
					t.Errorf("%s: went to %v of %d", page.name, visited, n)
				}
				for _, what := range evaluate[[]string](p, `window.unseen`) {
					t.Errorf("%s: it is not to be seen that the keyboard is at %s", page.name, what)
				}
			}
			p.quiet()
		})
	}
}

// TestKeys goes to the content past the navigation, opens a table, submits
// forms and leaves a question, by keys alone.
func TestKeys(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, desktop)
	p.look(h, page{path: "/batches"})
	p.do(chromedp.KeyEvent(kb.Tab))
	p.until(`document.activeElement.textContent === 'To the content' && document.activeElement.getBoundingClientRect().top >= 0`)
	p.do(chromedp.KeyEvent(kb.Enter))
	p.until(`location.hash === '#main'`)
	p.do(chromedp.KeyEvent(kb.Tab))
	p.until(`document.activeElement.textContent === 'New batch'`)

	// Enter in a field filters.
	p.do(chromedp.Focus(chromedp.CSS("#f-text")), chromedp.KeyEvent("nightly"), chromedp.KeyEvent(kb.Enter))
	p.until(`location.search.includes('q=nightly') && document.readyState === 'complete'`)
	p.until(`document.querySelectorAll('table.batches tbody tr').length === 1`)

	// Enter follows a row's link, and opens and closes a table.
	p.settle()
	p.do(chromedp.Focus(chromedp.CSS("table.batches tbody a")), chromedp.KeyEvent(kb.Enter))
	p.until(`location.pathname.endsWith('` + id + `') && document.readyState === 'complete'`)
	p.settle()
	for _, open := range []bool{true, false} {
		p.do(chromedp.Focus(chromedp.CSS("#table-done summary")), chromedp.KeyEvent(kb.Enter))
		p.until(`document.getElementById('table-done').open === ` + strconv.FormatBool(open))
	}

	// Escape leaves a question, Enter on its button answers it.
	p.do(chromedp.Focus(chromedp.CSS("#a-cancel")), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS("button.danger")))
	p.do(chromedp.KeyEvent(kb.Escape), chromedp.WaitVisible(chromedp.CSS("#a-cancel")))
	h.didNot(p)
	p.settle()
	p.do(chromedp.Focus(chromedp.CSS("#a-cancel")), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS("button.danger")))
	p.do(chromedp.Focus(chromedp.CSS("button.danger")), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS(".notice")))
	h.did(p, "cancel "+id)
	p.quiet()
}
