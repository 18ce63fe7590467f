package browser

import (
	"slices"
	"testing"

	"github.com/tidegate/tidegate/dashboard"
)

// TestBulkActions selects rows and acts on all of them, with JavaScript and as
// a plain form. Selections outlast the list being brought up to date.
func TestBulkActions(t *testing.T) {
	t.Parallel()
	for _, l := range []looks{desktop, phone.inDark(), desktop.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			ids := h.IDs()
			p := enter(t, h, l)
			p.visit(h.url + "/batches")
			p.press("#pick-" + ids[1])
			p.press("#pick-" + ids[8])
			if l.script {
				p.until(`document.querySelector('[data-picked]').textContent === '2 selected:'`)
				h.Change(ids[0], func(b *dashboard.BatchDetail) { b.InputName = "renamed.jsonl" })
				p.until(`document.getElementById('b-` + ids[0] + `').textContent === 'renamed.jsonl'`)
				if !evaluate[bool](p, `document.getElementById('pick-`+ids[1]+`').checked && document.getElementById('pick-`+ids[8]+`').checked`) {
					t.Error("the selection was lost when the list was brought up to date")
				}
			}
			p.narrow("batches with selected rows")
			p.shoot("bulk-selected")
			p.click("button[name=action][value=cancel]", "button.danger")
			h.didNot(p)
			if l.script {
				p.accessible("asking before a bulk action")
			}
			p.narrow("asking before a bulk action")
			p.shoot("bulk-asking")
			p.click("button.danger", "a.button.main")
			if done := h.Done(); !slices.Equal(done, []string{"cancel " + ids[1]}) {
				t.Errorf("did %q, want only one batch cancelled", done)
			}
			p.until(`document.getElementById('bulk-` + ids[1] + `').textContent.includes('being cancelled')`)
			p.narrow("results of a bulk action")
			p.shoot("bulk-done")
			p.click("a.button.main", "#bulk")
			if l.script {
				p.press("[data-pick-all]")
				p.until(`document.querySelector('[data-picked]').textContent === '50 selected:' && document.querySelector('[data-pick-all]').textContent === 'Select none'`)
				p.press("[data-pick-all]")
				p.until(`document.querySelectorAll('#bulk input[name=batch]:checked').length === 0`)
			}
			p.quiet()
		})
	}
}
