package browser

import (
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// did fails the test if the gateway did not perform an action.
func (h *harness) did(p *tab, action string) {
	p.Helper()
	if done := h.Done(); !slices.Contains(done, action) {
		p.Errorf("the gateway did %q, not %q", done, action)
	}
}

// didNot fails the test if the gateway performed any action.
func (h *harness) didNot(p *tab) {
	p.Helper()
	if done := h.Done(); len(done) > 0 {
		p.Errorf("the gateway did %q", done)
	}
}

// TestActions does everything that can be done, by clicks alone, at both
// widths and with and without JavaScript.
func TestActions(t *testing.T) {
	t.Parallel()
	for _, l := range []looks{desktop, desktop.inDark().withoutScript(), phone.inDark(), phone.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			ids := h.IDs()
			p := enter(t, h, l)

			p.visit(h.url + "/batches/" + ids[1])
			p.click("#a-pause", "#a-resume")
			h.did(p, "pause "+ids[1])
			p.click("#a-resume", "#a-pause")
			h.did(p, "resume "+ids[1])
			p.settle()
			p.do(chromedp.SetValue(chromedp.CSS("#a-priority"), "7"))
			p.click("#a-prioritize", ".notice")
			h.did(p, "priority 7 "+ids[1])
			p.click("#a-lines", "#f-after")
			p.do(chromedp.SetValue(chromedp.CSS("#f-after"), "31215"))
			p.click("form.filter button", "#l-31216")
			p.click("#l-31216", "pre.json")
			p.click("nav[aria-label=Neighbours] a[rel=next]", "pre.json")
			p.until(`document.querySelector('h1').textContent.trim() === 'Line 31,217'`)

			h.stopping(p, ids[1])
			h.repeating(p, ids[9])
			h.draining(p)
			h.filing(p)
			h.keying(p)

			p.visit(h.url + "/batches")
			p.do(chromedp.SetValue(chromedp.CSS("#f-text"), "nightly"))
			p.click("form.filter button", `form.filter a.button`)
			p.until(`document.querySelectorAll('table.batches tbody tr').length === 1`)
			p.click("form.filter a.button", "nav.pager a[rel=next]")
			p.click("nav.pager a[rel=next]", "nav.pager")
			p.until(`location.search.includes('after=')`)
			p.quiet()
		})
	}
}

// stopping cancels a batch. A destructive action asks for confirmation, which can be
// declined.
func (h *harness) stopping(p *tab, id string) {
	p.Helper()
	p.visit(h.url + "/batches/" + id)
	p.click("#a-cancel", "button.danger")
	p.click("main .actions a.button", "#a-cancel")
	if slices.Contains(h.Done(), "cancel "+id) {
		p.Error("it was cancelled by asking")
	}
	p.click("#a-cancel", "button.danger")
	p.click("button.danger", ".notice")
	h.did(p, "cancel "+id)
	p.until(`document.querySelector('.title .state').textContent === 'cancelling'`)
}

// repeating makes a batch of the lines that failed, and deletes the old one.
func (h *harness) repeating(p *tab, id string) {
	p.Helper()
	p.visit(h.url + "/batches/" + id)
	p.click("#a-retry", "button.main")
	p.click("button.main", "#retry-of")
	h.did(p, "retry "+id)
	p.click("#retry-of", "#retried-by")
	p.click("#a-delete", "button.danger")
	p.press("input[name=input]")
	p.click("button.danger", "#f-state")
	h.did(p, "delete true "+id)
}

// draining drains a server and takes that back.
func (h *harness) draining(p *tab) {
	p.Helper()
	p.visit(h.url + "/upstreams")
	p.click("#u-0", "#a-drain")
	p.click("#a-drain", "main form button")
	p.click("main form button", "#a-undrain")
	h.did(p, "drain http://vllm-0.gpu.internal:8000")
	p.until(`document.querySelector('main .actions').textContent.includes('159 requests of this gateway are in flight there.')`)
	p.click("#a-undrain", "#a-drain")
	h.did(p, "undrain http://vllm-0.gpu.internal:8000")
}

// filing downloads a file and deletes one.
func (h *harness) filing(p *tab) {
	p.Helper()
	file := h.FileIDs()[0]
	p.visit(h.url + "/files")
	if !evaluate[bool](p, `document.querySelector('a[download][href$="`+file+`/content"]') !== null`) {
		p.Error("the file cannot be downloaded")
	}
	p.do(chromedp.SetValue(chromedp.CSS("#f-purpose"), "batch_output"))
	p.click("form.filter button", "#f-purpose")
	p.until(`document.querySelector('#f-purpose').value === 'batch_output' && !document.querySelector('main').textContent.includes('nightly-summaries.jsonl file-')`)
	p.visit(h.url + "/files")
	p.click(`a[href$="`+file+`/delete"]`, "button.danger")
	p.click("button.danger", "#f-purpose")
	h.did(p, "delete "+file)
}

// keying makes a key, replaces and revokes it. Its secret is on one page alone.
func (h *harness) keying(p *tab) {
	p.Helper()
	p.visit(h.url + "/keys")
	p.click(".title .button.main", "#k-name")
	p.do(chromedp.SetValue(chromedp.CSS("#k-name"), "ci"), chromedp.SetValue(chromedp.CSS("#k-tenant"), "team-a"))
	p.press("input[value=read]")
	p.click("main form button.main", "#secret")
	h.did(p, "create key ci")
	if got := evaluate[string](p, `document.querySelector('#secret').textContent`); got != dashboardtest.Secret(1) {
		p.Errorf("the secret is %q", got)
	}
	p.click("main .actions a.button", "#f-tenant")
	if evaluate[bool](p, `document.documentElement.outerHTML.includes('tg-') || location.href.includes('tg-')`) {
		p.Error("the list has a secret")
	}
	id := evaluate[string](p, `document.querySelector('tbody th code').textContent`)
	p.click(`a[href$="`+id+`/rotate"]`, "#choice")
	p.do(chromedp.SetValue(chromedp.CSS("#choice"), "24h0m0s"))
	p.click("main form button.main", "#secret")
	h.did(p, "rotate key "+id+" 24h0m0s")
	p.visit(h.url + "/keys")
	p.click(`a[href$="`+id+`/revoke"]`, "button.danger")
	p.click("button.danger", ".notice")
	h.did(p, "revoke key "+id)
}
