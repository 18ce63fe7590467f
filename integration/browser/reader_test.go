package browser

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestTheme changes colours by the switch, without JavaScript, permanently.
func TestTheme(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := enter(t, h, desktop.withoutScript())
	p.visit(h.url + "/batches?state=active")
	ground := func() string { return evaluate[string](p, `getComputedStyle(document.body).backgroundColor`) }
	light := ground()
	p.click(".to-dark", ".to-light")
	dark := ground()
	if light == dark {
		t.Errorf("background stays %s", dark)
	}
	if at := evaluate[string](p, `location.search`); at != "?state=active" {
		t.Errorf("it led to %s", at)
	}
	p.visit(h.url + "/")
	if got := ground(); got != dark {
		t.Errorf("another page has %s", got)
	}
	p.click("footer button[value=auto]", ".to-dark")
	if got := ground(); got != light {
		t.Errorf("then it is %s, not the system's %s", got, light)
	}
	p.quiet()
}

// inZone returns the number of times on the page that are not in a zone.
func inZone(p *tab, zone string) (wrong int) {
	p.Helper()
	return evaluate[int](p, `(() => {
		const all = Array.from(document.querySelectorAll('time[datetime]'))
		if (all.length === 0) return -1
		const clock = new Intl.DateTimeFormat('en-GB', {timeZone: '`+zone+`', hour: '2-digit', minute: '2-digit'})
		return all.filter(t => !t.textContent.includes(clock.format(new Date(t.getAttribute('datetime'))))).length
	})()`)
}

// TestZone takes the reader's zone from the browser, and from a choice where
// there is no JavaScript; all times are in it, also those that are sent later.
func TestZone(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := open(t, desktop)
	p.do(chromedp.Navigate(h.url + "/"))
	p.until(`document.readyState === 'complete' && document.body.dataset.base === '/dashboard' && !document.body.dataset.zoneWanted`) // it was loaded again
	p.settle()
	if got := evaluate[string](p, `document.getElementById('zone').value`); got != "Europe/Berlin" {
		t.Errorf("the zone is %s", got)
	}
	if n := inZone(p, "Europe/Berlin"); n != 0 {
		t.Errorf("%d times are in another zone", n)
	}

	without := open(t, phone.withoutScript())
	without.visit(h.url + "/batches?state=active")
	if n := inZone(without, "UTC"); n != 0 {
		t.Errorf("without a zone %d times are not in UTC", n)
	}
	without.do(chromedp.SetValue(chromedp.CSS("#zone"), "Asia/Kathmandu"))
	without.click("footer form button", "#zone")
	without.until(`document.querySelector('footer').textContent.includes('+0545') && location.search === '?state=active'`)
	if n := inZone(without, "Asia/Kathmandu"); n != 0 {
		t.Errorf("%d times are not in Kathmandu's zone", n)
	}
	without.quiet()
	p.quiet()
}

// TestZoneComesLate holds that a page is not loaded again once its reader has
// begun: a file that was chosen stays chosen.
func TestZoneComesLate(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := open(t, desktop)
	call(p, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `{
		const now = fetch
		fetch = (...what) => new Promise(go => { window.go = go }).then(() => now(...what)).then(answer => {
			setTimeout(() => { window.told = true })
			return answer
		})
		navigation.addEventListener('navigate', () => { window.left = true })
	}`})
	file := filepath.Join(t.TempDir(), "prompts.jsonl")
	if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, begun := range []bool{true, false} {
		p.do(chromedp.Navigate(h.url + "/new"))
		p.until(`window.go !== undefined`)
		if begun {
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}))
		}
		evaluate[bool](p, `window.go() === undefined`)
		if !begun {
			p.until(`document.readyState === 'complete' && document.body.dataset.zoneWanted === undefined`)
			continue
		}
		p.until(`window.told`)
		if evaluate[bool](p, `window.left === true`) {
			t.Error("the page was loaded again")
		}
		if n := evaluate[int](p, `document.getElementById('file').files.length`); n != 1 {
			t.Errorf("%d files are chosen", n)
		}
		evaluate[bool](p, `sessionStorage.clear() === undefined`)
		call(p, network.ClearBrowserCookies, cdp.Empty{})
	}
	p.quiet()
}

// TestReducedMotion checks that there is no animation for readers who prefer reduced motion,
// and that there is for others, so that this test can fail.
func TestReducedMotion(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	moving := func(p *tab) int {
		return evaluate[int](p, `document.getAnimations().length + Array.from(document.querySelectorAll('*')).filter(e => {
			const s = getComputedStyle(e)
			return s.transitionDuration.split(', ').some(d => parseFloat(d) > 0) || s.animationName !== 'none' || s.scrollBehavior === 'smooth'
		}).length`)
	}
	calm := desktop
	calm.calm = true
	p := enter(t, h, calm)
	for _, page := range h.kinds() {
		p.look(h, page)
		if n := moving(p); n > 0 {
			t.Errorf("%s: %d things move", page.name, n)
		}
	}
	p.quiet()
	other := enter(t, h, desktop)
	other.look(h, page{path: "/"})
	if moving(other) == 0 {
		t.Error("no animation without reduced motion, so this test cannot fail")
	}
}
