package browser

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// TestKeyboard goes to the content and through the navigation by keys alone,
// and sees where it is.
func TestKeyboard(t *testing.T) {
	h := start(t, nil)
	p := open(t, desktop)
	p.visit(h.url + "/")
	p.until(zoneIsKnown)
	focused := func() string {
		return evaluate[string](p, `(e => e.textContent.trim() + (parseFloat(getComputedStyle(e).outlineWidth) > 0 && getComputedStyle(e).outlineStyle !== 'none' ? '' : ' (not to be seen)'))(document.activeElement)`)
	}
	p.do(chromedp.KeyEvent(kb.Tab))
	if got := focused(); got != "To the content" {
		t.Errorf("first is %q", got)
	}
	if top := evaluate[float64](p, `document.activeElement.getBoundingClientRect().top`); top < -60 {
		t.Errorf("the way to the content is %v above the page", top)
	}
	for _, want := range []string{"Tidegate", "Overview", "Throughput", "Batches"} {
		p.do(chromedp.KeyEvent(kb.Tab))
		if got := focused(); got != want {
			t.Errorf("then %q, want %q", got, want)
		}
	}
	p.do(chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS("#f-state")))
	p.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	p.until(`location.hash === '#main'`)
	p.do(chromedp.KeyEvent(kb.Tab))
	if got := focused(); got != "New batch" {
		t.Errorf("in the content comes %q", got)
	}
	p.quiet()
}

// TestTheme changes colours by the switch, without JavaScript, for good.
func TestTheme(t *testing.T) {
	h := start(t, nil)
	p := open(t, desktop.withoutScript())
	p.visit(h.url + "/batches?state=active")
	ground := func() string { return evaluate[string](p, `getComputedStyle(document.body).backgroundColor`) }
	light := ground()
	p.click(".to-dark", ".to-light")
	dark := ground()
	if light == dark {
		t.Errorf("the ground stays %s", dark)
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

// TestZone takes the reader's zone from the browser, and from a choice where
// there is no JavaScript.
func TestZone(t *testing.T) {
	h := start(t, nil)
	p := open(t, desktop)
	p.visit(h.url + "/")
	p.until(zoneIsKnown)
	if got := evaluate[string](p, `document.getElementById('zone').value`); got != "Europe/Berlin" {
		t.Errorf("the zone is %s", got)
	}
	without := open(t, phone.withoutScript())
	without.visit(h.url + "/throughput?span=7d")
	without.do(chromedp.SetValue(chromedp.CSS("#zone"), "Asia/Kathmandu"))
	without.do(chromedp.Click(chromedp.CSS("footer form button")))
	without.until(`document.querySelector('footer').textContent.includes('+0545') && location.search === '?span=7d'`)
	without.quiet()
	p.quiet()
}

// TestHostile opens pages that are full of strings which want to be more than
// text: nothing runs, nothing is loaded, and the policy has nothing to stop.
func TestHostile(t *testing.T) {
	for i, hostile := range dashboardtest.Hostile {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			h := start(t, func(string) string { return hostile })
			p := open(t, desktop)
			p.visit(h.url + "/")
			p.until(zoneIsKnown)
			ids := h.IDs()
			for _, page := range h.pages(t) {
				if page.name == "not-found" || strings.HasPrefix(page.name, "throughput-") {
					continue
				}
				p.visit(h.url + page.path)
				if evaluate[bool](p, `!!document.querySelector('[sse-connect]')`) && (page.name == "overview" || page.name == "batch-errors" || page.name == "lines") {
					p.until(`document.getElementById('stream-state').textContent === 'live' || ` + strconv.FormatBool(page.path == "/batches/"+ids[9]))
				}
				if evaluate[bool](p, `'pwned' in window || document.cookie.includes('pwned') || !location.href.startsWith(`+strconv.Quote(h.url)+`)`) {
					t.Errorf("%s: it was run", page.name)
				}
				if wide := evaluate[int](p, `document.documentElement.scrollWidth`); int64(wide) > desktop.width {
					t.Errorf("%s is %d pixels wide", page.name, wide)
				}
			}
			p.quiet()
		})
	}
}
