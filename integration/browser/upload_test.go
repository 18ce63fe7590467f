package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// inputs writes a file that is as it should be and one whose second and fourth
// line are not.
func inputs(t *testing.T) (good, bad string) {
	t.Helper()
	dir := t.TempDir()
	good, bad = filepath.Join(dir, "good.jsonl"), filepath.Join(dir, "bad.jsonl")
	for path, content := range map[string]string{
		good: strings.Repeat("{\"custom_id\":\"a\"}\n", 1000),
		bad:  "{\"custom_id\":\"a\"}\n{\"id\":\"b\"}\n{\"custom_id\":\"c\"}\n{\"id\":\"d\"}\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return good, bad
}

// TestNewBatch chooses a file, checks its findings by line, chooses another and creates a
// batch from it.
func TestNewBatch(t *testing.T) {
	t.Parallel()
	good, bad := inputs(t)
	for _, l := range []looks{desktop, desktop.withoutScript(), phone, phone.withoutScript()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			p := enter(t, h, l)
			p.visit(h.url + "/batches")
			p.click("a.button.main", "#file")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{bad}))
			p.click("form[data-upload] button", "#h-found")
			p.until(`document.querySelector('button.main').disabled`)
			want := "2 Line 2 has no custom_id|4 Line 4 has no custom_id"
			if got := evaluate[string](p, `Array.from(document.querySelectorAll('[aria-label=Findings] tbody tr'), r => r.cells[0].textContent.trim() + ' ' + r.cells[1].textContent.trim().split(':')[0]).join('|')`); got != want {
				t.Errorf("found %q, want %q", got, want)
			}
			p.narrow("what is wrong")
			p.shoot("new-bad")

			p.click("section form a.button", "#file")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{good}))
			p.click("form[data-upload] button", "#h-found")
			p.until(`!document.querySelector('button.main').disabled`)
			p.do(
				chromedp.SetValue(chromedp.CSS("#metadata"), "team=tests"),
				chromedp.SetValue(chromedp.CSS("#priority"), "-3"),
				chromedp.SetValue(chromedp.CSS("#window"), "6h0m0s"),
			)
			p.shoot("new-good")
			p.click("section form button.main", "#live-head")
			p.until(`document.querySelector('.title .state').textContent === 'validating'`)
			h.did(p, "create "+h.FileIDs()[0]+" /v1/chat/completions 6h0m0s -3 map[team:tests]")
			p.quiet()
		})
	}
}

// TestArriving checks that findings appear while most of a file has not been sent, over a
// slow connection.
func TestArriving(t *testing.T) {
	t.Parallel()
	slow := filepath.Join(t.TempDir(), "slow.jsonl")
	content := "{\"custom_id\":\"a\"}\n{\"id\":\"b\"}\n" + strings.Repeat("{\"custom_id\":\"c\"}\n", 200_000)
	if err := os.WriteFile(slow, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l := range []looks{desktop, phone.inDark()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			p := enter(t, h, l)
			p.visit(h.url + "/new")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{slow}))
			line := func(bytesPerSecond float64) {
				call(p, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
					MatchedNetworkConditions: []*network.Conditions{{DownloadThroughput: -1, UploadThroughput: bytesPerSecond}},
				})
			}
			line(200_000)
			p.press("form[data-upload] button")
			const found = `Array.from(document.querySelectorAll('#arriving tbody tr'), r => r.cells[0].textContent.trim() + ' ' + r.cells[1].textContent.trim().split(':')[0]).join('|')`
			p.until(found + ` === '2 Line 2 has no custom_id'`)
			p.until(`/^\d+ % sent. [\d,]+ requests checked so far, findings: 1.$/.test(document.querySelector('[data-words]').textContent)`)
			if sent := evaluate[float64](p, `document.querySelector('progress').value / document.querySelector('progress').max`); sent > 0.9 {
				t.Errorf("%.0f %% was sent by then", 100*sent)
			}
			p.narrow("what is wrong so far")
			p.accessible("what is wrong so far")
			p.shoot("new-arriving")
			line(-1)
			p.until(`document.querySelector('#h-found') !== null && document.querySelector('button.main').disabled`)
			p.quiet()
		})
	}
}

// TestDrop drops a file beside the field.
func TestDrop(t *testing.T) {
	t.Parallel()
	good, _ := inputs(t)
	h := start(t, nil)
	p := enter(t, h, desktop)
	p.visit(h.url + "/new")
	for _, step := range []input.DispatchDragEventType{
		input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop,
	} {
		call(p, input.DispatchDragEvent, input.DispatchDragEventParams{
			Type: step, X: 900, Y: 500,
			Data: &input.DragData{Items: []*input.DragDataItem{}, Files: []string{good}, DragOperationsMask: 1},
		})
		if step == input.DispatchDragEventTypeDragOver {
			p.until(`document.querySelector('#file').classList.contains('is-over')`)
		}
	}
	p.until(`document.querySelector('#file').files.length === 1 && !document.querySelector('#file').classList.contains('is-over')`)
	p.click("form[data-upload] button", "#h-found")
	p.until(`document.querySelector('#h-found').textContent.includes('good.jsonl') && document.querySelector('#h-found + dl').textContent.includes('1,000')`)
	p.quiet()
}

// TestTooLarge checks that a file that is too large is reported before it is sent.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	good, _ := inputs(t)
	h := start(t, nil)
	p := enter(t, h, phone)
	p.visit(h.url + "/new")
	evaluate[string](p, `document.querySelector('form[data-upload]').dataset.max = '100'`)
	p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{good}))
	p.until(`document.querySelector('[data-words]').textContent === 'That is larger than 512 MiB.'`)
	p.press("form[data-upload] button")
	p.until(`!document.querySelector('form[data-upload] button').disabled`)
	h.didNot(p)
	p.quiet()
}

// TestBrokenUpload checks the message if the gateway stops during an upload.
func TestBrokenUpload(t *testing.T) {
	t.Parallel()
	good, _ := inputs(t)
	h := start(t, nil)
	p := enter(t, h, desktop)
	p.visit(h.url + "/new")
	p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{good}))
	h.full.Store(true)
	p.expect("503 (Service Unavailable)")
	p.press("form[data-upload] button")
	p.until(`document.querySelector('[data-words]').textContent.startsWith('The upload was interrupted')`)
	h.full.Store(false)
	p.click("form[data-upload] button", "#h-found")
	p.quiet()
}
