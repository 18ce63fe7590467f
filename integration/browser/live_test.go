package browser

import (
	"strconv"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

// lost are the messages of the browser and htmx at the end of a stream.
var lost = []string{"Failed to load resource", "[object Event]"}

const isLive = `document.getElementById('stream-state').textContent === 'live'`

// TestBatchToItsEnd makes a batch and sees it from its creation to its end
// without a reload.
func TestBatchToItsEnd(t *testing.T) {
	t.Parallel()
	good, _ := inputs(t)
	for _, l := range []looks{desktop, phone.inDark()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			p := enter(t, h, l)
			p.visit(h.url + "/new")
			p.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{good}))
			p.click("form[data-upload] button", "#h-found")
			p.click("section form button.main", "#live-head")
			p.until(`document.querySelector('.title .state').textContent === 'validating'`)
			evaluate[bool](p, `window.same = true`)
			id := h.IDs()[0]
			began := h.now()
			h.Change(id, func(b *dashboard.BatchDetail) {
				b.Status, b.InProgressAt, b.Counts.Total, b.LineRate = batch.InProgress, began, 1000, 41
				b.History = append(b.History, dashboard.ProgressPoint{At: began})
			})
			p.until(`document.querySelector('.title .state').textContent === 'in progress'`)
			for quarter := range int64(3) {
				h.Change(id, func(b *dashboard.BatchDetail) {
					b.Counts.Completed, b.InFlight = 250*(quarter+1), 64
					b.History = append(b.History, dashboard.ProgressPoint{At: began.Add(time.Duration(quarter+1) * time.Minute), Completed: b.Counts.Completed})
				})
				p.until(`document.querySelector('#live-progress').textContent.includes('` + strconv.FormatInt(25*(quarter+1), 10) + ` %')`)
			}
			p.until(`document.querySelectorAll('#chart-done .step').length === 3`)
			h.Change(id, func(b *dashboard.BatchDetail) {
				b.Status, b.FinalizingAt, b.Counts.Completed = batch.Finalizing, h.now(), 1000
			})
			p.until(`document.querySelector('.title .state').textContent === 'finalizing'`)
			h.Change(id, func(b *dashboard.BatchDetail) {
				b.Status, b.CompletedAt, b.InFlight = batch.Completed, h.now(), 0
			})
			p.until(`document.querySelector('.title .state').textContent === 'completed' && document.getElementById('a-delete') !== null && document.getElementById('a-pause') === null`)
			p.until(`Array.from(document.querySelectorAll('.timeline .state'), s => s.textContent).join() === 'validating,in progress,finalizing,completed'`)
			if !evaluate[bool](p, `window.same === true`) {
				t.Error("the page was loaded again")
			}
			p.narrow("the batch")
			p.quiet()
		})
	}
}

// TestNewsDisturbNobody checks that open tables, scroll positions, typed text and the focus
// stay when their part is updated.
func TestNewsDisturbNobody(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, desktop)
	p.look(h, page{path: "/batches/" + id})
	p.press("#table-done summary")
	p.until(`document.getElementById('table-done').open`)
	evaluate[bool](p, `document.querySelector('#table-done .scroll').scrollTop = 200, document.querySelector('#table-done summary').focus(), true`)
	news := func(done int64) {
		h.Change(id, func(b *dashboard.BatchDetail) {
			last := b.History[len(b.History)-1]
			last.At, last.Completed = last.At.Add(time.Minute), done
			b.History = append(b.History, last)
			b.Counts.Completed = done
		})
		p.until(`document.getElementById('table-done').textContent.includes('` + strconv.FormatInt(done/1000, 10) + `,123')`)
	}
	scrolled := evaluate[float64](p, `scrollY`)
	news(40_123)
	if !evaluate[bool](p, `document.getElementById('table-done').open`) {
		t.Error("the table was closed")
	}
	if got := evaluate[float64](p, `document.querySelector('#table-done .scroll').scrollTop`); got != 200 {
		t.Errorf("the table was scrolled to %v", got)
	}
	if got := evaluate[float64](p, `scrollY`); got != scrolled {
		t.Errorf("the page was scrolled from %v to %v", scrolled, got)
	}
	if !evaluate[bool](p, `document.activeElement === document.querySelector('#table-done summary')`) {
		t.Error("the keyboard is elsewhere")
	}

	// A field that is being filled in.
	evaluate[bool](p, `document.getElementById('a-priority').focus(), document.getElementById('a-priority').value = '42', true`)
	h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Failed, b.PausedAt = 19, h.now() })
	p.until(`document.getElementById('a-resume') !== null`)
	if !evaluate[bool](p, `document.activeElement.id === 'a-priority' && document.activeElement.value === '42'`) {
		t.Error("typed text is lost")
	}

	// A button that no longer exists.
	evaluate[bool](p, `document.getElementById('a-resume').focus(), true`)
	h.Change(id, func(b *dashboard.BatchDetail) { b.PausedAt = time.Time{} })
	p.until(`document.getElementById('a-pause') !== null`)
	if evaluate[bool](p, `document.activeElement === document.body`) {
		t.Error("the keyboard was sent back to the top")
	}
	p.quiet()
}

// TestScrollStays checks that the visible part far down a page does not move when elements
// above it appear or disappear.
func TestScrollStays(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := enter(t, h, phone)
	p.look(h, page{path: "/"})
	evaluate[bool](p, `document.getElementById('h-active').scrollIntoView({block: 'start'}), true`)
	top := evaluate[float64](p, `document.getElementById('h-active').getBoundingClientRect().top`)
	h.Calm()
	p.until(`document.querySelector('.problems') === null`)
	p.until(`Math.abs(document.getElementById('h-active').getBoundingClientRect().top - (` + strconv.FormatFloat(top, 'f', -1, 64) + `)) < 2`)
	p.quiet()
}

// TestOverviewLives checks that the overview shows the end of a problem and updates batches
// and charts.
func TestOverviewLives(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	p := enter(t, h, desktop)
	p.look(h, page{path: "/"})
	evaluate[bool](p, `window.same = true`)
	id := h.IDs()[2]
	h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed = 7_125 })
	p.until(`document.getElementById('b-` + id + `').closest('tr').textContent.includes('75 %')`)
	p.until(`document.querySelectorAll('#live-day .chart').length === 2`)
	h.Calm()
	p.until(`document.querySelector('.calm') !== null`)
	h.FailWith(batch.ErrUnavailable)
	p.until(`document.querySelector('#live-problems [role=alert]') !== null`)
	h.FailWith(nil)
	p.until(`document.querySelector('.calm') !== null`)
	if !evaluate[bool](p, `window.same`) {
		t.Error("the page was loaded again")
	}
	p.quiet()
}

// TestReconnect stops and restarts the server: the page shows it and reconnects.
func TestReconnect(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ leave, back func(*harness) }{
		"stopped": {
			func(h *harness) { h.end() },
			func(h *harness) { h.serve(h.address()) },
		},
		// A proxy in front that answers with an error: browsers do not reconnect then.
		"refused": {
			func(h *harness) {
				h.full.Store(true)
				h.end()
				h.serve(h.address())
			},
			func(h *harness) { h.full.Store(false) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			id := h.IDs()[1]
			p := enter(t, h, desktop)
			p.look(h, page{path: "/batches/" + id})
			p.until(isLive)
			p.expect(lost...)
			evaluate[bool](p, `window.same = true`)
			tt.leave(h)
			p.until(`document.getElementById('stream-state').textContent === 'stale'`)
			h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed = 36_000 })
			tt.back(h)
			p.until(isLive + ` && document.querySelector('#live-progress').textContent.includes('36,000')`)
			if !evaluate[bool](p, `window.same`) {
				t.Error("the page was loaded again")
			}
			p.quiet()
		})
	}
}

// TestAway checks that a page shows that it is out of date while the store is unavailable,
// and that a batch no longer exists.
func TestAway(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, desktop)
	p.look(h, page{path: "/batches/" + id})
	h.FailWith(batch.ErrUnavailable)
	p.until(`document.getElementById('stream-state').textContent === 'stale' && document.getElementById('stream-state').title.startsWith('The store does not answer')`)
	h.FailWith(nil)
	p.until(isLive)
	h.FailWith(batch.ErrNotFound)
	p.until(`document.getElementById('stream-state').textContent === 'gone'`)
	p.quiet()
}

// TestAwayAtFirst opens the overview while the store is unavailable: unknown values are not
// shown as zero, and all values appear once they can be read.
func TestAwayAtFirst(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	h.FailWith(batch.ErrUnavailable)
	p := enter(t, h, desktop)
	p.visit(h.url + "/")
	for _, part := range []string{"now", "queue", "upstreams", "active", "day"} {
		if got := evaluate[string](p, `document.getElementById('live-`+part+`').textContent.trim()`); got != "Currently unknown." {
			t.Errorf("%s: %q", part, got)
		}
	}
	h.FailWith(nil)
	p.until(`document.querySelectorAll('#live-upstreams tbody tr').length === 5 && document.querySelectorAll('#live-day .chart').length === 2`)
	p.quiet()
}

// TestHidden checks that a hidden page has no stream, and is updated when it is visible
// again, also after the server was unavailable.
func TestHidden(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	p := enter(t, h, phone)
	p.look(h, page{path: "/batches/" + id})
	hide := func(hidden bool) {
		evaluate[bool](p, `Object.defineProperty(document, 'hidden', {value: `+strconv.FormatBool(hidden)+`, configurable: true}), document.dispatchEvent(new Event('visibilitychange'))`)
	}
	h.streamsAre(1)
	hide(true)
	h.streamsAre(0)
	h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed = 36_000 })
	hide(false)
	p.until(isLive + ` && document.querySelector('#live-progress').textContent.includes('36,000')`)
	h.streamsAre(1)

	p.expect(lost...)
	h.full.Store(true)
	h.end()
	h.serve(h.address())
	p.until(`document.getElementById('stream-state').textContent === 'stale'`)
	h.full.Store(false)
	p.until(isLive)
	hide(true)
	h.streamsAre(0)
	hide(false)
	h.streamsAre(1)
	p.until(isLive)
	p.quiet()
}

// streamsAre waits until that many pages have a stream.
func (h *harness) streamsAre(n int64) {
	h.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for give := time.Now().Add(limit); h.streams.Load() != n; <-tick.C {
		if time.Now().After(give) {
			h.Fatalf("%d streams are open, not %d", h.streams.Load(), n)
		}
	}
}
