package dashboard_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// moment is the time of all tests here, in no particular zone.
var moment = time.Date(2026, 11, 23, 14, 5, 9, 0, time.UTC)

// harness is a dashboard on a gateway in memory.
type harness struct {
	*testing.T
	*dashboardtest.Fake
	dashboard *dashboard.Dashboard
}

func build(t *testing.T, say func(string) string, change ...func(*dashboard.Config)) *harness {
	t.Helper()
	fake := dashboardtest.New(func() time.Time { return moment }, say)
	cfg := dashboard.Config{Base: "/dashboard", Source: fake.Source(), Now: func() time.Time { return moment }}
	for _, c := range change {
		c(&cfg)
	}
	d, err := dashboard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return &harness{t, fake, d}
}

// do answers a request.
func (h *harness) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.dashboard.ServeHTTP(w, r)
	return w
}

// get requests a page below the base.
func (h *harness) get(path string) *httptest.ResponseRecorder {
	return h.do(httptest.NewRequest(http.MethodGet, "/dashboard"+path, http.NoBody))
}

// page returns a page that must be there.
func (h *harness) page(path string) string {
	h.Helper()
	w := h.get(path)
	if w.Code != http.StatusOK {
		h.Fatalf("GET %s: %d\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// post sends a form, as a browser does from the dashboard's own pages.
func (h *harness) post(path string, pairs ...string) *httptest.ResponseRecorder {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return h.do(r)
}

// pages are all pages, each at least once.
func (h *harness) pages() []string {
	ids, files := h.IDs(), h.FileIDs()
	key := h.upstreamKey()
	return []string{
		"/", "/wall", "/usage", "/usage?by=key", "/usage?by=model&month=2020-01", "/usage?by=batch", "/throughput", "/throughput?span=7d", "/throughput?span=30d&model=" + url.QueryEscape(h.Say("Qwen/Qwen3-32B")),
		"/batches", "/batches?whose=all", "/batches?whose=all&state=active", "/batches?after=" + ids[49], "/batches?state=active", "/batches?q=" + url.QueryEscape(h.Say("nightly")),
		"/batches?model=" + url.QueryEscape(h.Say("gone")),
		"/batches/" + ids[0], "/batches/" + ids[1], "/batches/" + ids[4], "/batches/" + ids[5], "/batches/" + ids[6],
		"/batches/" + ids[7], "/batches/" + ids[8], "/batches/" + ids[9], "/batches/" + ids[10], "/batches/" + ids[11], "/batches/" + ids[12],
		"/batches/" + ids[9] + "/lines", "/batches/" + ids[9] + "/lines?state=failed&after=100", "/batches/" + ids[1] + "/lines?after=31000",
		"/batches/" + ids[9] + "/lines/1", "/batches/" + ids[9] + "/lines/29", "/batches/" + ids[1] + "/lines/48000",
		"/batches/" + ids[1] + "/cancel", "/batches/" + ids[9] + "/delete", "/batches/" + ids[9] + "/retry",
		"/new", "/new?file=" + files[0],
		"/files", "/files?purpose=batch_output", "/files?after=" + files[20], "/files/" + files[0] + "/delete",
		"/upstreams", "/upstreams/" + key, "/upstreams/" + key + "/drain", "/doctor", "/audit", "/audit?after=11", "/webhooks",
		"/keys", "/keys?show=all", "/keys/new", "/keys/key_00000000000000000000000000000001/limits", "/keys/key_00000000000000000000000000000001/rotate", "/keys/key_00000000000000000000000000000001/revoke",
	}
}

// upstreamKey returns the name of the second server in the paths of pages.
func (h *harness) upstreamKey() string {
	h.Helper()
	rest := h.page("/upstreams")
	for range 2 {
		_, after, ok := strings.Cut(rest, `href="/dashboard/upstreams/`)
		if !ok {
			h.Fatal("there is no upstream on the page")
		}
		rest = after
	}
	key, _, _ := strings.Cut(rest, `"`)
	return key
}

// parse reads a page.
func parse(t *testing.T, page string) *html.Node {
	t.Helper()
	n, err := html.Parse(bytes.NewReader([]byte(page)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// walk visits all elements.
func walk(n *html.Node, visit func(*html.Node)) {
	if n.Type == html.ElementNode {
		visit(n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		walk(c, visit)
	}
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}
