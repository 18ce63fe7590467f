package browser

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	devtools "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/chromedp"
)

const (
	// limit bounds each step of a test: a command, a page's load, a wait for a page's
	// state. Steps take less than a second. No limit covers a whole test, so that a slow
	// machine makes tests slow and does not fail them.
	limit = 2 * time.Minute

	// alive bounds the response of the browser itself to Browser.getVersion, which needs no
	// page, and its end.
	alive = time.Minute
)

// browser is a browser process.
type browser struct {
	ctx  context.Context // of chromedp
	end  context.CancelCauseFunc
	wait func() // for the end of the process
}

// launch starts a browser.
func launch() (*browser, error) {
	path, err := findChromium()
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), // containers have little of it
		chromedp.Flag("force-color-profile", "srgb"))
	ended, end := context.WithCancelCause(context.Background())
	allocator, wait := chromedp.NewExecAllocator(ended, options...)
	ctx, stop := chromedp.NewContext(allocator)
	b := &browser{ctx, end, func() { stop(); wait() }}
	late := time.AfterFunc(limit, func() { end(fmt.Errorf("chromium did not start within %v", limit)) })
	defer late.Stop()
	if err := chromedp.Do(ctx); err != nil {
		err = b.explain(ctx, err)
		b.wait()
		return nil, err
	}
	return b, nil
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no chromium: scripts/setup installs one")
}

// close ends the browser and waits for that.
func (b *browser) close() error {
	defer b.wait()
	ctx, stop := context.WithTimeout(b.ctx, alive)
	defer stop()
	err := chromedp.Cancel(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("chromium hangs: no response to Browser.close within %v", alive)
	}
	return b.explain(ctx, err)
}

// health asks the browser itself for its version, which needs no page. If it does not
// respond, it is killed, and all other tests end at once.
func (b *browser) health(within time.Duration) error {
	ctx, stop := context.WithTimeout(b.ctx, within)
	defer stop()
	began := time.Now()
	if _, err := chromedp.CallBrowser(ctx, devtools.GetVersion, cdp.Empty{}); err != nil {
		b.end(fmt.Errorf("chromium hangs: no response to Browser.getVersion within %v", within))
		return context.Cause(b.ctx)
	}
	return fmt.Errorf("chromium itself responded to Browser.getVersion after %v", time.Since(began).Round(time.Millisecond))
}

// explain adds to the error of a step why its browser or tab was given up, and at its
// limit, whether the browser works.
func (b *browser) explain(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case err == nil:
		return nil
	case cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded):
		return cause
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("not within its limit: %w", b.health(alive))
	}
	return err
}

// TestHang checks that failures distinguish a page that hangs from a browser that hangs,
// and that the latter is killed: one kept the suite waiting for 20 minutes.
func TestHang(t *testing.T) {
	t.Parallel()
	b, err := launch()
	if err != nil {
		t.Fatal(err)
	}
	process := chromedp.FromContext(b.ctx).Browser.Process()
	ctx, stop := context.WithTimeout(b.ctx, time.Second)
	defer stop()
	_, err = chromedp.Run(ctx, chromedp.Evaluate[bool](`(() => { for (;;) {} })()`))
	if err = b.explain(ctx, err); err == nil || !strings.Contains(err.Error(), "chromium itself responded to Browser.getVersion after ") {
		t.Errorf("evaluating an endless loop: %v", err)
	}

	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const want = "chromium hangs: no response to Browser.getVersion within 1s"
	if err := b.health(time.Second); err.Error() != want {
		t.Errorf("health of a stopped browser: got %v, want %s", err, want)
	}
	_, err = chromedp.CallBrowser(b.ctx, devtools.GetVersion, cdp.Empty{})
	if err = b.explain(b.ctx, err); err.Error() != want {
		t.Errorf("the next command: got %v, want %s", err, want)
	}
	if err := b.close(); err == nil || err.Error() != want {
		t.Errorf("ending it: got %v, want %s", err, want)
	}
}

// TestTabIsReadUntilClosed: a tab whose context ended after 3 minutes, while it was still
// open, kept all messages of all tabs from being passed on.
func TestTabIsReadUntilClosed(t *testing.T) {
	var p *tab
	t.Run("open", func(t *testing.T) {
		p = open(t, desktop)
		if at, limited := p.ctx.Deadline(); limited {
			t.Errorf("the tab is read until %v", at)
		}
	})
	detached, err := chromedp.Detached(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-detached:
	default:
		t.Error("the tab was not read until it was closed")
	}
	if p.ctx.Err() == nil {
		t.Error("the context of the closed tab has not ended")
	}
}
