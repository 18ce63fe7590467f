package browser

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

// did fails the test if the gateway did not do something.
func (h *house) did(p *tab, action string) {
	p.Helper()
	if done := h.Done(); !slices.Contains(done, action) {
		p.Errorf("the gateway did %q, not %q", done, action)
	}
}

// TestActions does everything that can be done, by clicks alone, with and
// without JavaScript.
func TestActions(t *testing.T) {
	for _, l := range []looks{desktop, desktop.withoutScript(), phone, phone.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			ids := h.IDs()
			p := open(t, l)
			p.visit(h.url + "/")
			if l.script {
				p.until(zoneIsKnown)
			}

			p.visit(h.url + "/batches/" + ids[1])
			p.click("#a-pause", "#a-resume")
			h.did(p, "pause "+ids[1])
			p.click("#a-resume", "#a-pause")
			h.did(p, "resume "+ids[1])
			p.do(chromedp.SetValue(chromedp.CSS("#a-priority"), "7"))
			p.click("#a-prioritize", ".notice")
			h.did(p, "priority 7 "+ids[1])

			// What destroys asks first, and can be left.
			p.click("#a-cancel", "button.danger")
			p.click("main .actions a.button", "#a-cancel")
			p.click("#a-cancel", "button.danger")
			p.click("button.danger", ".notice")
			h.did(p, "cancel "+ids[1])
			p.until(`document.querySelector('.title .state').textContent === 'cancelling'`)

			p.visit(h.url + "/batches/" + ids[9])
			p.click("#a-retry", "button.main")
			p.click("button.main", "#retry-of")
			h.did(p, "retry "+ids[9])
			p.click("#retry-of", "#retried-by")
			p.click("#a-delete", "button.danger")
			p.do(chromedp.Click(chromedp.CSS("input[name=input]")))
			p.click("button.danger", "#f-state")
			h.did(p, "delete true "+ids[9])

			p.visit(h.url + "/upstreams")
			p.click("#u-0", "#a-drain")
			p.click("#a-drain", "main form button")
			p.click("main form button", "#a-undrain")
			h.did(p, "drain http://vllm-0.gpu.internal:8000")
			p.until(`document.querySelector('main .actions').textContent.includes('159 requests of this gateway are left there.')`)
			p.click("#a-undrain", "#a-drain")
			h.did(p, "undrain http://vllm-0.gpu.internal:8000")

			file := h.FileIDs()[0]
			p.visit(h.url + "/files")
			p.click(`a[href$="`+file+`/delete"]`, "button.danger")
			p.click("button.danger", "#f-purpose")
			h.did(p, "delete "+file)

			p.visit(h.url + "/batches")
			p.do(chromedp.SetValue(chromedp.CSS("#f-text"), "nightly"))
			p.click("form.filter button", `form.filter a.button`)
			p.until(`document.querySelectorAll('table.batches tbody tr').length === 1`)
			p.quiet()
		})
	}
}

// TestNewBatch makes a batch from a file, sees it to its end without a reload
// where there is JavaScript, and sees what is wrong with another.
func TestNewBatch(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.jsonl")
	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	for path, content := range map[string]string{
		good: strings.Repeat("{\"custom_id\":\"a\"}\n", 1000),
		bad:  "{\"custom_id\":\"a\"}\n{\"id\":\"b\"}\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []looks{desktop, phone.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			h := start(t, nil)
			p := open(t, l)
			p.visit(h.url + "/")
			if l.script {
				p.until(zoneIsKnown)
			}
			p.visit(h.url + "/batches")
			p.click("a.button.main", "#file")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{bad}))
			p.click("form[data-upload] button", "#h-found")
			p.until(`document.body.textContent.includes('Line 2 has no custom_id') && document.querySelector('button.main').disabled`)
			p.shoot("new-bad-" + l.name)

			p.visit(h.url + "/new")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{good}))
			p.click("form[data-upload] button", "#h-found")
			p.until(`!document.querySelector('button.main').disabled`)
			p.do(chromedp.SetValue(chromedp.CSS("#metadata"), "team=tests"))
			p.shoot("new-good-" + l.name)
			p.click("section form button.main", "#live-head")
			p.until(`document.querySelector('.title .state').textContent === 'validating'`)
			if !l.script {
				p.quiet()
				return
			}
			evaluate[bool](p, `window.same = true`)
			id := h.IDs()[0]
			now := time.Now()
			h.Change(id, func(b *dashboard.BatchDetail) {
				b.Status, b.InProgressAt, b.Counts.Total = batch.InProgress, now, 1000
				b.Counts.Completed, b.InFlight, b.LineRate = 250, 64, 41
			})
			p.until(`document.querySelector('.title .state').textContent === 'in progress' && document.querySelector('#live-progress').textContent.includes('25 %')`)
			h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed = 750 })
			p.until(`document.querySelector('#live-progress').textContent.includes('75 %')`)
			h.Change(id, func(b *dashboard.BatchDetail) {
				b.Status, b.CompletedAt, b.Counts.Completed, b.InFlight = batch.Completed, now, 1000, 0
			})
			p.until(`document.querySelector('.title .state').textContent === 'completed' && document.getElementById('a-delete') !== null && document.getElementById('a-pause') === null`)
			if !evaluate[bool](p, `window.same === true`) {
				t.Error("the page was loaded again")
			}
			p.quiet()
		})
	}
}

// TestOpenTablesStayOpen holds that what a reader opened is not closed by news.
func TestOpenTablesStayOpen(t *testing.T) {
	h := start(t, nil)
	id := h.IDs()[1]
	p := open(t, desktop)
	p.visit(h.url + "/batches/" + id)
	p.until(zoneIsKnown + ` && document.getElementById('stream-state').textContent === 'live'`)
	p.do(chromedp.Click(chromedp.CSS("#table-done summary")))
	p.until(`document.getElementById('table-done').open`)
	evaluate[bool](p, `document.querySelector('#table-done summary').focus(), true`)
	h.Change(id, func(b *dashboard.BatchDetail) {
		last := b.History[len(b.History)-1]
		last.At, last.Completed = last.At.Add(time.Minute), 40_123
		b.History = append(b.History, last)
	})
	p.until(`document.getElementById('table-done').textContent.includes('40,123')`)
	if !evaluate[bool](p, `document.getElementById('table-done').open`) {
		t.Error("the table was closed")
	}
	p.quiet()
}

// TestStale holds that a page says when it is live no more.
func TestStale(t *testing.T) {
	h := start(t, nil)
	p := open(t, desktop)
	p.visit(h.url + "/")
	p.until(zoneIsKnown + ` && document.getElementById('stream-state').textContent === 'live'`)
	h.stop()
	p.until(`document.getElementById('stream-state').textContent === 'stale'`)
}
