// Package browser tests the dashboard in a real Chromium, on a gateway that
// lives in memory.
package browser

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// chromium is the browser that all tests share; each has a profile of its own
// in it.
var chromium context.Context

func TestMain(m *testing.M) {
	os.Exit(func() int {
		path := findChromium()
		if path == "" {
			fmt.Fprintln(os.Stderr, "there is no chromium: scripts/setup installs one")
			return 1
		}
		options := append(chromedp.DefaultExecAllocatorOptions[:],
			chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
			chromedp.Flag("force-color-profile", "srgb"),
			chromedp.WSURLReadTimeout(time.Minute))
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		defer stop()
		var end context.CancelFunc
		chromium, end = chromedp.NewContext(allocator)
		defer end()
		if err := chromedp.Do(chromium); err != nil {
			fmt.Fprintln(os.Stderr, "starting chromium:", err)
			return 1
		}
		return m.Run()
	}())
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// house is a dashboard on a server of its own.
type house struct {
	*dashboardtest.Fake
	url  string // of the dashboard
	stop func()
}

func start(t *testing.T, say func(string) string) *house {
	t.Helper()
	fake := dashboardtest.New(time.Now, say)
	d, err := dashboard.New(dashboard.Config{Base: "/dashboard", Source: fake.Source()})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d)
	stop := sync.OnceFunc(func() {
		d.Close()
		server.CloseClientConnections()
		server.Close()
	})
	t.Cleanup(stop)
	return &house{fake, server.URL + "/dashboard", stop}
}

// looks are how a reader looks at pages.
type looks struct {
	name          string
	width, height int64
	dark          bool
	script        bool
}

var (
	phone   = looks{"phone", 390, 844, false, true}
	desktop = looks{"desktop", 1440, 900, false, true}
)

func (l looks) inDark() looks {
	l.dark, l.name = true, l.name+"-dark"
	return l
}

func (l looks) withoutScript() looks {
	l.script, l.name = false, l.name+"-noscript"
	return l
}

// tab is a page in a browser.
type tab struct {
	*testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // guarded by mu; what the browser complained about
}

// open opens a tab in a profile of its own.
func open(t *testing.T, l looks) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(func() { stop(); cancel() })
	page := &tab{T: t, ctx: ctx}
	page.do() // the tab is there
	if err := chromedp.Listen(ctx, page.hear); err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(page, log.Enable, cdp.Empty{})
	call(page, audits.Enable, cdp.Empty{})
	call(page, runtime.Enable, cdp.Empty{})
	call(page, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.width < 600,
	})
	call(page, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	call(page, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Europe/Berlin"})
	call(page, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !l.script})
	return page
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
			text = "console: error"
			for _, a := range e.Args {
				text += " " + string(a.Value)
			}
		}
	case *audits.EventIssueAdded:
		if d := e.Issue.Details; d != nil && d.ContentSecurityPolicyIssueDetails != nil {
			text = "csp: " + d.ContentSecurityPolicyIssueDetails.ViolatedDirective + " " + d.ContentSecurityPolicyIssueDetails.BlockedURL
		}
	}
	if text != "" {
		p.mu.Lock()
		p.troubles = append(p.troubles, text)
		p.mu.Unlock()
	}
}

// quiet fails the test if the browser complained about anything.
func (p *tab) quiet() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.troubles {
		p.Errorf("the browser says: %s", text)
	}
	p.troubles = nil
}

// call gives the browser an order.
func call[P, R any](p *tab, command cdp.Command[P, R], params P) {
	p.Helper()
	if _, err := chromedp.Call(p.ctx, command, params); err != nil {
		p.Fatal(err)
	}
}

// action is a step that gives nothing.
type action = chromedp.Action[chromedp.Void]

func (p *tab) do(actions ...action) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.Fatal(err)
	}
}

// visit goes to a page and waits until it is there.
func (p *tab) visit(url string) {
	p.Helper()
	p.do(chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("footer")))
}

// click presses something that leads to another page, where wanted is seen.
func (p *tab) click(selector, wanted string) {
	p.Helper()
	evaluate[string](p, `document.documentElement.dataset.left = 'not yet'`)
	p.do(chromedp.Click(chromedp.CSS(selector)))
	p.until(`document.documentElement.dataset.left === undefined && document.readyState === 'complete'`)
	p.do(chromedp.WaitVisible(chromedp.CSS(wanted)))
}

// evaluate gives the value of an expression.
func evaluate[V any](p *tab, expression string) V {
	p.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[V](expression))
	if err != nil {
		p.Fatalf("evaluating %s: %v", expression, err)
	}
	return v
}

// patience is how long a page may take to become what is wanted.
const patience = 20 * time.Second

// until waits for an expression to become true, also across pages.
func (p *tab) until(expression string) {
	p.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	give := time.After(patience)
	for {
		yes, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](expression))
		if err == nil && yes {
			return
		}
		select {
		case <-tick.C:
		case <-give:
			p.Fatalf("waiting for %s: %v", expression, err)
		}
	}
}

// shoot keeps a picture of the whole page.
func (p *tab) shoot(name string) {
	p.Helper()
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.Fatal(err)
	}
	if !bytes.HasPrefix(picture, []byte("\x89PNG")) {
		p.Fatal("the picture is none")
	}
	dir := os.Getenv("TIDEGATE_SCREENSHOTS")
	if dir == "" {
		dir = p.ArtifactDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		p.Fatal(err)
	}
}
