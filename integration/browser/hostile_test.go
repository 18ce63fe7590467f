package browser

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// shapes are the elements on the page that is open, each with the names of its
// attributes, and the values of those that browsers act upon.
const shapes = `Array.from(new Set(Array.from(document.querySelectorAll('*'), e =>
	e.tagName + '[' + Array.from(e.attributes, a => a.name + (/^(hx-|sse-|on|style|srcdoc|http-equiv)/.test(a.name) ? '=' + a.value.split('?')[0].replace(/[0-9a-f]{12,}/g, 'ID') : '')).sort().join(' ') + ']')))`

// flat leaves of a text what does not depend on where in a page it stands:
// white space is folded there, and NUL left out or replaced.
const flat = `.replace(/[\s\u0000\uFFFD]+/g, '')`

// signs is the page's text as a reader gets it, and its attributes.
const signs = `(() => {
	const all = [document.documentElement.textContent]
	for (const e of document.querySelectorAll('[title], [aria-label], [value]')) all.push(e.getAttribute('title'), e.getAttribute('aria-label'), e.getAttribute('value'))
	return all.join(' ')` + flat + `
})()`

// hostilePages returns the pages that show text of users, clients and servers, or of the
// address.
func (h *harness) hostilePages(say string) []page {
	q := url.QueryEscape(say)
	kinds := []string{ // one of each kind: dashboard's own tests read all of them
		"overview", "batch-running", "batch-invalid", "lines-failed", "lines-running", "line", "line-failed", "cancel", "files", "upstream", "drain", "doctor", "keys", "key-revoke",
	}
	all := slices.DeleteFunc(h.pages(), func(p page) bool { return !slices.Contains(kinds, p.name) })
	return append(all,
		page{"asked-text", "/batches?q=" + q, 0},
		page{"asked-filter", "/batches?model=" + q + "&state=" + q, 0},
		page{"asked-time", "/batches?from=" + q, 0},
		page{"asked-model", "/throughput?model=" + q + "&span=" + q, 0},
		page{"asked-page", "/" + url.PathEscape(say), http.StatusNotFound},
	)
}

// quotesNothing are pages that show no text of others.
var quotesNothing = []string{"asked-time", "asked-page"}

// upload stores a file of a hostile name and makes a batch with hostile
// metadata, as a form does.
func (h *harness) upload(say string) (inspection, made string) {
	h.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", strings.ReplaceAll(say, "\x00", ""))
	if err != nil {
		h.Fatal(err)
	}
	if _, err := io.WriteString(part, `{"id":`+strconv.Quote(say)+"}\n"); err != nil {
		h.Fatal(err)
	}
	if err := form.Close(); err != nil {
		h.Fatal(err)
	}
	h.post("/new/upload", form.FormDataContentType(), &body)
	inspection = "/new?file=" + h.FileIDs()[0]
	flat := strings.NewReplacer("\r", " ", "\n", " ").Replace(say)
	h.post("/new", "application/x-www-form-urlencoded", strings.NewReader(url.Values{
		"file": {h.FileIDs()[0]}, "endpoint": {"/v1/embeddings"}, "window": {"24h0m0s"}, "priority": {"0"}, "metadata": {"note=" + flat},
	}.Encode()))
	return inspection, "/batches/" + h.IDs()[0]
}

// post sends a form as a page of the harness does.
func (h *harness) post(path, kind string, body io.Reader) {
	h.Helper()
	r, err := http.NewRequestWithContext(h.Context(), http.MethodPost, h.url+path, body)
	if err != nil {
		h.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.Fatal(err)
	}
	w.Body.Close()
	if w.StatusCode != http.StatusSeeOther {
		h.Fatalf("POST %s: %s", path, w.Status)
	}
}

// TestHostile opens pages in which all text of others is an injection attempt, and requests
// pages with such parameters: no script runs, nothing is loaded, there is no violation of
// the policy, no additional element appears, no page is wider than the screen, and the text
// is visible.
func TestHostile(t *testing.T) {
	t.Parallel()
	if n := len(dashboardtest.Hostile); n < 40 {
		t.Fatalf("there are %d hostile strings", n)
	}
	known := harmless(t)
	const together = 5 // strings in each text; one that breaks out is seen by its elements
	groups := (len(dashboardtest.Hostile) + together - 1) / together
	for worker, l := range []looks{desktop, phone, desktop.inDark(), phone.inDark()} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			h := start(t, nil)
			p := enter(t, h, l)
			p.simple()
			for group := worker; group < groups; group += 4 {
				var all []string
				for i := group; i < len(dashboardtest.Hostile); i += groups {
					all = append(all, dashboardtest.Hostile[i])
				}
				say := strings.Join(all, " ")
				h.become(func(string) string { return say })
				h.suffer(p, say, known)
			}
			p.quiet()
		})
	}
}

// suffer checks all pages of a harness in which all text of others is the same.
func (h *harness) suffer(p *tab, say string, known map[string]bool) {
	p.Helper()
	h.Keep(13)
	pages := h.hostilePages(say)
	inspection, made := h.upload(say)
	// The last page has no stream that the next step would cut.
	pages = append(pages, page{"made", made, 0}, page{"uploaded", inspection, 0})
	for _, page := range pages {
		p.look(h, page)
		p.narrow(strconv.Quote(say) + ": " + page.name)
		if evaluate[bool](p, `'pwned' in window || document.cookie.includes('pwned') || !location.href.startsWith(`+strconv.Quote(h.url)+`)`) {
			p.Errorf("%s: %q was run", page.name, say)
		}
		for _, shape := range evaluate[[]string](p, shapes) {
			if !known[shape] {
				p.Errorf("%s: by %q there is a strange %s", page.name, say, shape)
			}
		}
		if !slices.Contains(quotesNothing, page.name) && !evaluate[bool](p, signs+`.includes(`+quoted(say)+flat+`)`) {
			p.Errorf("%s: %q is not to be read", page.name, say)
		}
	}
}

// quoted writes a string for a script.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string has a form in JSON
	}
	return string(text)
}

// harmless returns the shapes on pages with harmless text.
func harmless(t *testing.T) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	h := start(t, nil)
	p := enter(t, h, desktop)
	for _, say := range []func(string) string{nil, func(string) string { return "plain" }} {
		h.become(say)
		h.Keep(13)
		pages := h.hostilePages("plain")
		inspection, made := h.upload("plain")
		for _, page := range append(pages, page{"", made, 0}, page{"", inspection, 0}) {
			p.look(h, page)
			for _, shape := range evaluate[[]string](p, shapes) {
				known[shape] = true
			}
		}
	}
	return known
}
