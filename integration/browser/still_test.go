package browser

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"github.com/tidegate/tidegate/dashboard"
)

// received counts the changes of each part that have arrived at the page,
// applied or not.
const received = `(() => {
	window.received = {}
	addEventListener('htmx:sseBeforeMessage', e => { received[e.target.id] = (received[e.target.id] || 0) + 1 }, true)
	return true
})()`

// mouse sends an event of the left button.
func (p *tab) mouse(kind input.DispatchMouseEventType, x, y float64) {
	p.Helper()
	call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1})
}

// centre returns the middle of an element.
func (p *tab) centre(selector string) (x, y float64) {
	p.Helper()
	e := `document.querySelector(` + strconv.Quote(selector) + `)`
	p.until(e + ` !== null`)
	at := evaluate[[]float64](p, `(e => {
		e.scrollIntoView({block: 'center', behavior: 'instant'})
		const b = e.getClientRects()[0]
		return [b.x + b.width / 2, b.y + b.height / 2]
	})(`+e+`)`)
	return at[0], at[1]
}

// arrive makes a change and waits until a part has arrived at the page with it.
func (p *tab) arrive(part string, change func()) {
	p.Helper()
	count := `(received['live-` + part + `'] || 0)`
	before := evaluate[int](p, count)
	change()
	p.until(count + ` > ` + strconv.Itoa(before))
}

// TestPressOutlastsUpdates presses on what a part contains and lets a change of
// the part arrive before each release: every press is a click on its element.
func TestPressOutlastsUpdates(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	running := h.IDs()[1]
	for _, tt := range []struct{ name, path, part, selector string }{
		{"link of a row", "/", "active", "#b-" + running},
		{"button", "/batches/" + running, "actions", "#a-pause"},
		{"summary", "/batches/" + running, "charts", "#table-done summary"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := enter(t, h, desktop)
			p.look(h, page{path: tt.path})
			evaluate[bool](p, received)
			evaluate[bool](p, `(window.clicks = 0, addEventListener('click', e => {
				e.preventDefault()
				if (e.target.closest(`+strconv.Quote(tt.selector)+`)) window.clicks++
			}, true), true)`)
			const presses = 8
			for i := range presses {
				x, y := p.centre(tt.selector)
				p.mouse(input.DispatchMouseEventTypeMousePressed, x, y)
				p.arrive(tt.part, func() {
					h.Change(running, func(b *dashboard.BatchDetail) {
						b.Counts.Completed++
						b.Priority++
						last := b.History[len(b.History)-1]
						last.At, last.Completed = last.At.Add(time.Minute), last.Completed+1
						b.History = append(b.History, last)
					})
				})
				p.mouse(input.DispatchMouseEventTypeMouseReleased, x, y)
				p.until(`window.clicks === ` + strconv.Itoa(i+1))
			}
			p.quiet()
		})
	}
}

// TestPressHoldsLayout lets a part above the pressed element shrink during the
// press: nothing moves until the click.
func TestPressHoldsLayout(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := enter(t, h, desktop)
	p.look(h, page{path: "/"})
	evaluate[bool](p, received)
	selector := "#b-" + h.IDs()[1]
	evaluate[bool](p, `(addEventListener('click', e => { e.preventDefault(); window.hit = e.target.closest('`+selector+`') !== null }, true), true)`)
	x, y := p.centre(selector)
	p.mouse(input.DispatchMouseEventTypeMousePressed, x, y)
	p.arrive("problems", h.Calm)
	if !evaluate[bool](p, `document.querySelector('.problems') !== null`) {
		t.Error("problems were removed during a press, want them kept until the click")
	}
	p.mouse(input.DispatchMouseEventTypeMouseReleased, x, y)
	p.until(`window.hit === true && document.querySelector('.problems') === null`)
	p.quiet()
}

// TestSelectionOutlastsUpdates selects text of a part that changes several
// times: the selection remains, other parts are updated, and the part is up to date
// once the selection ends.
func TestSelectionOutlastsUpdates(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, desktop)
	p.look(h, page{path: "/"})
	evaluate[bool](p, received)
	selected := evaluate[string](p, `(() => {
		getSelection().selectAllChildren(document.getElementById('b-`+id+`').closest('tr').querySelector('[data-label="Lines"]'))
		return String(getSelection())
	})()`)
	for range 4 {
		p.arrive("active", func() { h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed += 1000 }) })
		if got := evaluate[string](p, `String(getSelection())`); got != selected || strings.TrimSpace(got) == "" {
			t.Fatalf("the selection is %q, want %q", got, selected)
		}
	}
	p.until(`document.body.hasAttribute('data-held')`)
	h.Calm()
	p.until(`document.querySelector('.problems') === null`)
	evaluate[bool](p, `(getSelection().removeAllRanges(), true)`)
	p.until(`!document.body.hasAttribute('data-held') && document.getElementById('b-` + id + `').closest('tr').querySelector('[data-label="Lines"]').innerText !== ` + strconv.Quote(strings.TrimSpace(selected)))
	p.quiet()
}

// TestUpdatesKeepElements holds that a change of a part keeps the elements that
// are in it before and after.
func TestUpdatesKeepElements(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, desktop)
	p.look(h, page{path: "/"})
	evaluate[bool](p, `(window.row = document.getElementById('b-`+id+`').closest('tr'), true)`)
	before := evaluate[string](p, `window.row.innerText`)
	h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed += 5000 })
	p.until(`document.getElementById('b-` + id + `').closest('tr').innerText !== ` + strconv.Quote(before))
	if !evaluate[bool](p, `window.row.isConnected`) {
		t.Error("the row was replaced, want it changed in place")
	}
	p.quiet()
}
