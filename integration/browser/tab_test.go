package browser

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/css"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// looks are the settings of a reader's browser.
type looks struct {
	name          string
	width, height int64
	dark          bool
	script        bool
	calm          bool // prefers reduced motion
}

var (
	phone   = looks{name: "phone", width: 390, height: 844, script: true}
	tablet  = looks{name: "tablet", width: 820, height: 1180, script: true}
	laptop  = looks{name: "laptop", width: 1100, height: 760, script: true}
	desktop = looks{name: "desktop", width: 1440, height: 900, script: true}
)

func (l looks) inDark() looks {
	l.dark, l.name = true, l.name+"-dark"
	return l
}

func (l looks) withoutScript() looks {
	l.script, l.name = false, l.name+"-noscript"
	return l
}

// witness logs forbidden events to the console, and counts updated parts.
const witness = `(() => {
	for (const name of ['alert', 'confirm', 'prompt', 'print', 'open']) {
		window[name] = () => console.error('a script called ' + name)
	}
	addEventListener('securitypolicyviolation', e => console.error('csp report: ' + e.violatedDirective + ' ' + e.blockedURI))
	window.news = 0
	addEventListener('htmx:sseMessage', () => { window.news++ })
})()`

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx   context.Context // of chromedp; ends when the tab is closed
	looks looks

	mu       sync.Mutex
	troubles []string // guarded by mu; messages of the browser
	expected []string // guarded by mu; allowed messages
}

// open opens a tab in a new profile.
func open(t *testing.T, l looks) *tab {
	t.Helper()
	// The context has no time limit. At its end chromedp reads no more messages of the tab.
	// The browser sends them until the tab is closed, also one for each page that another
	// tab opens, and after 1024 of them chromedp passes on nothing for any tab, for ever.
	parent, abandon := context.WithCancelCause(chromium.ctx)
	ctx, cancel := chromedp.NewContext(parent, chromedp.WithNewBrowserContext())
	p := &tab{T: t, ctx: ctx, looks: l}
	t.Cleanup(func() {
		p.close()
		cancel()
		abandon(nil)
	})
	late := time.AfterFunc(limit, func() {
		abandon(fmt.Errorf("the tab was not opened within %v: %w", limit, chromium.health(alive)))
	})
	err := chromedp.Do(ctx) // the tab exists
	late.Stop()
	if err != nil {
		t.Fatal(chromium.explain(ctx, err))
	}
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	features := []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}
	if l.dark {
		features[0].Value = "dark"
	}
	if l.calm {
		features = append(features, &emulation.MediaFeature{Name: "prefers-reduced-motion", Value: "reduce"})
	}
	call(p, log.Enable, cdp.Empty{})
	call(p, audits.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600,
	})
	// Several tabs are open at once, and only one of them is in front.
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
	call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Berlin"})
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
	call(p, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: witness})
	return p
}

// close closes the tab and waits for that.
func (p *tab) close() {
	p.Helper()
	c := chromedp.FromContext(p.ctx)
	if c.Target == nil || p.ctx.Err() != nil {
		return
	}
	ctx, stop := p.step()
	defer stop()
	detached, err := chromedp.Detached(ctx)
	if err == nil {
		_, err = chromedp.CallBrowser(ctx, target.CloseTarget, target.CloseTargetParams{TargetID: c.Target.TargetID})
	}
	if err == nil {
		select {
		case <-detached:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		p.Errorf("closing the tab: %v", chromium.explain(ctx, err))
	}
}

// step returns a context for a step of a test.
func (p *tab) step() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, limit)
}

// enter opens a tab for a reader whose time zone the harness knows: pages are
// loaded once, not again after the zone is known.
func enter(t *testing.T, h *harness, l looks) *tab {
	t.Helper()
	p := open(t, l)
	p.know(h)
	return p
}

// know sends the reader's time zone to a harness.
func (p *tab) know(h *harness) {
	p.Helper()
	call(p, network.SetCookie, network.SetCookieParams{Name: "tidegate_zone", Value: "Europe%2FBerlin", URL: h.url + "/", Path: "/dashboard/"})
}

// simple spares a tab what only finding and pressing things needs.
func (p *tab) simple() {
	p.Helper()
	call(p, css.Disable, cdp.Empty{})
	call(p, dom.Disable, cdp.Empty{})
	call(p, network.Disable, cdp.Empty{})
}

// hear notes everything that should never happen on a page.
func (p *tab) hear(event any) {
	var text string
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			text = "log: " + e.Entry.Text + " " + e.Entry.URL
		}
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			text = "console:"
			for _, a := range e.Args {
				text += " " + string(a.Value)
			}
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			text = "csp: " + d.ContentSecurityPolicyIssueDetails.ViolatedDirective + " " + d.ContentSecurityPolicyIssueDetails.BlockedURL
		}
	}
	if text == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.expected {
		if strings.Contains(text, e) {
			return
		}
	}
	p.troubles = append(p.troubles, text)
}

// expect allows messages of the browser, until it is called again.
func (p *tab) expect(texts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = texts
}

// quiet fails the test if the browser logged a message that is not allowed.
func (p *tab) quiet() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.troubles {
		p.Errorf("browser message: %s", text)
	}
	p.troubles = nil
}

// call returns the browser an order.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) R {
	p.Helper()
	ctx, stop := p.step()
	defer stop()
	r, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.Fatalf("%s: %v", command.Method, chromium.explain(ctx, err))
	}
	return r
}

// action is a step without a result.
type action = chromedp.Action[chromedp.Void]

func (p *tab) do(actions ...action) {
	p.Helper()
	ctx, stop := p.step()
	defer stop()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.Fatal(chromium.explain(ctx, err))
	}
}

// visit goes to an address and waits until the page is there: with a script, the
// one that is loaded after the zone is known.
func (p *tab) visit(url string) {
	p.Helper()
	p.navigate(url)
	if err := p.soon(`document.querySelector('footer') !== null` + map[bool]string{true: ` && document.body.dataset.zoneWanted === undefined`}[p.looks.script]); err != nil {
		p.Fatalf("%s is no page of the dashboard: %v", url, err)
	}
}

// navigate goes to an address, also one that is not the dashboard's.
func (p *tab) navigate(url string) {
	p.Helper()
	ctx, stop := p.step()
	defer stop()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		p.Fatalf("going to %s: %v", url, chromium.explain(ctx, err))
	}
}

// look opens a page and waits for its first update.
func (p *tab) look(h *harness, to page) {
	p.Helper()
	if to.status != 0 {
		p.expect(fmt.Sprintf("the server responded with a status of %d (%s)", to.status, http.StatusText(to.status)))
	}
	p.visit(h.url + to.path)
	p.settle()
}

// settle waits until a live page has got its first update.
func (p *tab) settle() {
	p.Helper()
	if p.looks.script {
		p.until(`document.querySelector('[sse-connect]') === null || window.news >= document.querySelectorAll('[sse-swap]').length`)
	}
}

// click presses something that leads to another page, where wanted is seen.
func (p *tab) click(selector, wanted string) {
	p.Helper()
	p.settle()
	evaluate[string](p, `document.documentElement.dataset.left = 'not yet'`)
	p.press(selector)
	if err := p.soon(`document.documentElement.dataset.left === undefined && document.readyState === 'complete'`); err != nil {
		p.shoot("click")
		p.Fatalf("%s led nowhere from %s: %v", selector, evaluate[string](p, `location.href`), err)
	}
	p.do(chromedp.WaitVisible(chromedp.CSS(wanted)))
}

// press clicks on an element once it is visible and not covered.
func (p *tab) press(selector string) {
	p.Helper()
	e := `document.querySelector(` + strconv.Quote(selector) + `)`
	p.until(`(e => {
		if (e === null || !e.checkVisibility()) return false
		e.scrollIntoView({block: 'center', behavior: 'instant'})
		const box = e.getClientRects()[0]
		return e.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2))
	})(` + e + `)`)
	at := evaluate[[]float64](p, `(b => [b.x + b.width / 2, b.y + b.height / 2])(`+e+`.getClientRects()[0])`)
	p.do(chromedp.MouseClickXY(at[0], at[1]))
}

// evaluate returns the value of an expression.
func evaluate[V any](p *tab, expression string, options ...chromedp.EvaluateOption) V {
	p.Helper()
	ctx, stop := p.step()
	defer stop()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[V](expression, options...))
	if err != nil {
		p.Fatalf("evaluating %.500s: %v", expression, chromium.explain(ctx, err))
	}
	return v
}

// until waits for an expression to become true, also across pages.
func (p *tab) until(expression string) {
	p.Helper()
	if err := p.soon(expression); err != nil {
		p.Fatalf("waited for %s: %v", expression, err)
	}
}

// soon waits for an expression to become true.
func (p *tab) soon(expression string) error {
	p.Helper()
	ctx, stop := p.step()
	defer stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression)) // which fails between two pages
		if err == nil && yes {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return chromium.explain(ctx, ctx.Err())
		}
	}
}

// narrow fails the test if the page is wider than the screen.
func (p *tab) narrow(name string) {
	p.Helper()
	if wide := evaluate[int64](p, `document.documentElement.scrollWidth`); wide > p.looks.width {
		p.Errorf("%s is %d pixels wide on a screen of %d: %s", name, wide, p.looks.width, evaluate[string](p, `Array.from(document.querySelectorAll('main *'))
			.filter(e => e.getBoundingClientRect().right > innerWidth && e.children.length === 0).map(e => e.outerHTML.slice(0, 200)).slice(0, 3).join(' ')`))
	}
}

// framed is the text of all frames within the page.
func (p *tab) framed() string {
	p.Helper()
	var b strings.Builder
	for _, f := range call(p, cdppage.GetFrameTree, cdp.Empty{}).FrameTree.ChildFrames {
		b.WriteString(f.Frame.URL + " " + f.Frame.UnreachableURL + "\n")
	}
	return b.String()
}
