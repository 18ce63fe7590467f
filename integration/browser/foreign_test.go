package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// elsewhere is a foreign site with forms and a script that send actions to a harness, and a
// frame with the dashboard.
func elsewhere(t *testing.T, h *harness) *httptest.Server {
	t.Helper()
	ids := h.IDs()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><title>elsewhere</title>
			<form method="post" action="%[1]s/batches/%[2]s/cancel"><button id="cancel">Win</button></form>
			<form method="post" action="%[1]s/batches/%[3]s/delete"><button id="delete">Win</button></form>
			<form method="post" action="%[1]s/new/upload" enctype="multipart/form-data"><textarea name="file">x</textarea><button id="upload">Win</button></form>
			<script>window.frame = 'nothing yet'</script>
			<iframe id="frame" src="%[1]s/batches/%[2]s/cancel"></iframe>`, h.url, ids[1], ids[9])
	}))
	t.Cleanup(s.Close)
	return s
}

// TestForeign checks that other sites, with another host name or only another port, cannot
// perform actions by form, by script or in a frame, and that its own pages can.
func TestForeign(t *testing.T) {
	t.Parallel()
	h := start(t, nil)
	id := h.IDs()[1]
	site := elsewhere(t, h)
	p := enter(t, h, desktop)
	for name, address := range map[string]string{
		"another site": strings.Replace(site.URL, "127.0.0.1", "localhost", 1),
		"another port": site.URL,
	} {
		p.expect()
		for _, form := range []string{"#cancel", "#delete", "#upload"} {
			p.expect("status of 403")
			p.navigate(address)
			p.press(form)
			p.do(chromedp.WaitVisible(chromedp.CSS("footer")))
			if got := evaluate[string](p, `document.querySelector('main .what').textContent`); got != "This was sent from a page of another site, and nothing was done." {
				t.Errorf("%s, %s: %q", name, form, got)
			}
		}
		p.navigate(address)
		// A script may send it, but cannot read the response.
		said := evaluate[string](p, `(() => {
			const r = new XMLHttpRequest()
			r.open('POST', '`+h.url+`/batches/`+id+`/cancel', false)
			r.withCredentials = true
			try { r.send() } catch (e) { return e.name }
			return 'answered ' + r.status
		})()`)
		if said != "NetworkError" {
			t.Errorf("%s: script received %q, want no response", name, said)
		}
		p.until(`(() => { try { return document.getElementById('frame').contentDocument === null } catch { return true } })()`)
		if frames := p.framed(); strings.Contains(frames, "Cancel the batch") {
			t.Errorf("%s: the dashboard is within a frame", name)
		}
	}
	h.didNot(p)

	p.expect()
	p.visit(h.url + "/batches/" + id + "/cancel")
	p.click("button.danger", ".notice")
	h.did(p, "cancel "+id)
}

// TestForeignHeaders sends what browsers send, old ones too.
func TestForeignHeaders(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		header, value string
		status        int
	}{
		"cross-site":        {"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		"same site":         {"Sec-Fetch-Site", "same-site", http.StatusForbidden},
		"foreign origin":    {"Origin", "https://evil.example", http.StatusForbidden},
		"origin null":       {"Origin", "null", http.StatusForbidden},
		"other port":        {"Origin", "http://127.0.0.1:1", http.StatusForbidden},
		"same origin":       {"Sec-Fetch-Site", "same-origin", http.StatusSeeOther},
		"typed":             {"Sec-Fetch-Site", "none", http.StatusSeeOther},
		"own origin, older": {"Origin", "own", http.StatusSeeOther},
		"no browser at all": {"User-Agent", "curl", http.StatusSeeOther},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			id := h.IDs()[1]
			if tt.value == "own" {
				tt.value = "http://" + h.address()
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.url+"/batches/"+id+"/pause", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set(tt.header, tt.value)
			w, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			w.Body.Close()
			if w.StatusCode != tt.status {
				t.Errorf("answered %d, want %d", w.StatusCode, tt.status)
			}
			if did := len(h.Done()) > 0; did != (tt.status == http.StatusSeeOther) {
				t.Errorf("done: %v", did)
			}
		})
	}
}
