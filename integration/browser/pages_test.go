package browser

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// page is a page of the dashboard.
type page struct{ name, path string }

// pages are all of them, on what the gateway has.
func (h *house) pages(t *testing.T) []page {
	t.Helper()
	ids := h.IDs()
	key := upstreamKey("http://vllm-1.gpu.internal:8000")
	if h.Say("x") != "x" {
		key = upstreamKey(h.Say("x"))
	}
	return []page{
		{"overview", "/"},
		{"throughput", "/throughput"},
		{"throughput-30d", "/throughput?span=30d"},
		{"batches", "/batches"},
		{"batches-none", "/batches?q=nothing+is+called+that"},
		{"batch-running", "/batches/" + ids[1]},
		{"batch-errors", "/batches/" + ids[9]},
		{"batch-invalid", "/batches/" + ids[10]},
		{"batch-paused", "/batches/" + ids[5]},
		{"lines", "/batches/" + ids[9] + "/lines"},
		{"lines-failed", "/batches/" + ids[9] + "/lines?state=failed"},
		{"line", "/batches/" + ids[9] + "/lines/3"},
		{"cancel", "/batches/" + ids[1] + "/cancel"},
		{"delete", "/batches/" + ids[9] + "/delete"},
		{"retry", "/batches/" + ids[9] + "/retry"},
		{"new", "/new"},
		{"new-findings", "/new?file=" + h.FileIDs()[0]},
		{"files", "/files"},
		{"file-delete", "/files/" + h.FileIDs()[1] + "/delete"},
		{"upstreams", "/upstreams"},
		{"upstream", "/upstreams/" + key},
		{"drain", "/upstreams/" + upstreamKeyOr(key, "http://vllm-3.gpu.internal:8000", h) + "/drain"},
		{"doctor", "/doctor"},
		{"not-found", "/batches/batch_nobody"},
	}
}

func upstreamKeyOr(key, url string, h *house) string {
	if h.Say("x") != "x" {
		return key
	}
	return upstreamKey(url)
}

// upstreamKey names a server in addresses, as the dashboard does.
func upstreamKey(url string) string {
	sum := sha256.Sum256([]byte(url))
	return hex.EncodeToString(sum[:6])
}

// zoneIsKnown is true once the reader's zone was told and the page came again.
const zoneIsKnown = `!document.body.dataset.zoneWanted && document.readyState === 'complete'`

// TestPages looks at every page in every way: no page is wider than the screen,
// the browser has nothing to complain about, and a picture of each is kept.
func TestPages(t *testing.T) {
	h := start(t, nil)
	for _, l := range []looks{
		desktop, desktop.inDark(), phone, phone.inDark(),
		desktop.withoutScript(), phone.withoutScript(),
	} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			p := open(t, l)
			if l.script { // the reader's zone is told once, and the page then comes again
				p.visit(h.url + "/")
				p.until(zoneIsKnown)
			}
			for _, page := range h.pages(t) {
				p.visit(h.url + page.path)
				if l.script && evaluate[bool](p, `!!document.querySelector('[sse-connect]')`) {
					p.until(`document.getElementById('stream-state').textContent === 'live'`)
				}
				if wide := evaluate[int](p, `document.documentElement.scrollWidth`); int64(wide) > l.width {
					t.Errorf("%s is %d pixels wide on a screen of %d", page.name, wide, l.width)
				}
				if page.name == "not-found" {
					p.mu.Lock() // the browser reports the status as an error
					p.troubles = nil
					p.mu.Unlock()
				}
				p.shoot(page.name + "-" + l.name)
				p.quiet()
			}
		})
	}
}

// TestVendored holds axe-core against its checksum.
func TestVendored(t *testing.T) {
	content, err := os.ReadFile("testdata/axe/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("testdata/axe/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if !strings.HasPrefix(string(sums), hex.EncodeToString(sum[:])+" ") {
		t.Error("axe.min.js is not what was vendored")
	}
}
