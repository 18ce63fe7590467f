package browser

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

// interval is the time between two updates of a page in these tests.
const interval = 250 * time.Millisecond

// harness is a dashboard on a server of its own.
type harness struct {
	*testing.T
	*dashboardtest.Fake
	url  string // of the dashboard
	now  func() time.Time
	full atomic.Bool // every request is answered with 503, as by a proxy in front

	streams atomic.Int64 // that are open
	shown   atomic.Pointer[dashboard.Dashboard]
	end     func() // takes the server away
}

// morning is when all of this happens.
var morning = time.Date(2026, 11, 23, 14, 5, 9, 0, time.UTC)

// start builds a harness whose texts are words converted by say.
func start(t *testing.T, say func(string) string) *harness {
	t.Helper()
	began := time.Now()
	return startAt(t, say, func() time.Time { return morning.Add(time.Since(began)) })
}

// startAt builds one with its own clock.
func startAt(t *testing.T, say func(string) string, now func() time.Time) *harness {
	t.Helper()
	h := &harness{T: t, Fake: dashboardtest.New(now, say), now: now}
	h.serve("127.0.0.1:0")
	t.Cleanup(func() {
		h.end()
		h.shown.Load().Close()
	})
	return h
}

// become replaces the gateway behind the same address: browsers keep their open pages.
func (h *harness) become(say func(string) string) {
	h.Helper()
	h.Fake = dashboardtest.New(h.now, say)
	h.show()
}

// show replaces the dashboard by a new one.
func (h *harness) show() {
	h.Helper()
	d, err := dashboard.New(dashboard.Config{Base: "/dashboard", Source: h.Source(), Tenant: "default", Now: h.now, Interval: interval})
	if err != nil {
		h.Fatal(err)
	}
	if before := h.shown.Swap(d); before != nil {
		before.Close()
	}
}

// serve begins to answer at an address.
func (h *harness) serve(address string) {
	h.Helper()
	h.show()
	listener, err := net.Listen("tcp", address)
	for give := time.Now().Add(limit); err != nil && time.Now().Before(give); {
		listener, err = net.Listen("tcp", address) // the one before may be about to leave
	}
	if err != nil {
		h.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.full.Load() {
			http.Error(w, "no gateway", http.StatusServiceUnavailable)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/dashboard/events/") {
			h.streams.Add(1)
			defer h.streams.Add(-1)
		}
		h.shown.Load().ServeHTTP(w, r)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	h.url = server.URL + "/dashboard"
	h.end = sync.OnceFunc(func() {
		server.CloseClientConnections()
		server.Close()
	})
}

// address is where the harness answers.
func (h *harness) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(h.url, "http://"), "/dashboard")
}

// key names a server in addresses, as the dashboard does.
func (h *harness) key(server string) string {
	sum := sha256.Sum256([]byte(h.Say(server)))
	return hex.EncodeToString(sum[:6])
}

// page is a page of the dashboard.
type page struct {
	name, path string
	status     int // 0: 200
}

// pages returns all pages for the objects of the gateway.
func (h *harness) pages() []page {
	ids, files := h.IDs(), h.FileIDs()
	one := "/batches/" + ids[9]
	return []page{
		{"overview", "/", 0},
		{"wall", "/wall", 0},
		{"throughput", "/throughput", 0},
		{"throughput-7d", "/throughput?span=7d", 0},
		{"throughput-30d", "/throughput?span=30d", 0},
		{"batches", "/batches", 0},
		{"batches-page-2", "/batches?after=" + ids[len(ids)/3], 0},
		{"batches-all", "/batches?whose=all", 0},
		{"batches-none", "/batches?q=nothing+is+called+that", 0},
		{"batch-validating", "/batches/" + ids[0], 0},
		{"batch-running", "/batches/" + ids[1], 0},
		{"batch-late", "/batches/" + ids[4], 0},
		{"batch-paused", "/batches/" + ids[5], 0},
		{"batch-errors", one, 0},
		{"batch-invalid", "/batches/" + ids[10], 0},
		{"batch-expired", "/batches/" + ids[11], 0},
		{"lines", one + "/lines", 0},
		{"lines-failed", one + "/lines?state=failed&after=3600", 0},
		{"lines-running", "/batches/" + ids[1] + "/lines?after=31200", 0},
		{"line", one + "/lines/3", 0},
		{"line-failed", one + "/lines/29", 0},
		{"line-waiting", "/batches/" + ids[1] + "/lines/48000", 0},
		{"cancel", "/batches/" + ids[1] + "/cancel", 0},
		{"delete", one + "/delete", 0},
		{"retry", one + "/retry", 0},
		{"new", "/new", 0},
		{"new-findings", "/new?file=" + files[0], 0},
		{"files", "/files", 0},
		{"files-output", "/files?purpose=batch_output", 0},
		{"file-delete", "/files/" + files[1] + "/delete", 0},
		{"upstreams", "/upstreams", 0},
		{"upstream", "/upstreams/" + h.key("http://vllm-1.gpu.internal:8000"), 0},
		{"upstream-down", "/upstreams/" + h.key("http://vllm-2.gpu.internal:8000"), 0},
		{"upstream-loading", "/upstreams/" + h.key("http://10.2.0.31:8000"), 0},
		{"drain", "/upstreams/" + h.key("http://vllm-3.gpu.internal:8000") + "/drain", 0},
		{"doctor", "/doctor", 0},
		{"webhooks", "/webhooks", 0},
		{"keys", "/keys?show=all", 0},
		{"key-new", "/keys/new", 0},
		{"key-limits", "/keys/key_00000000000000000000000000000001/limits", 0},
		{"key-replace", "/keys/key_00000000000000000000000000000001/rotate", 0},
		{"key-revoke", "/keys/key_00000000000000000000000000000001/revoke", 0},
		{"not-found", "/batches/batch_nobody", http.StatusNotFound},
	}
}

// kinds returns one page of each kind.
func (h *harness) kinds() []page {
	like := []string{
		"throughput-7d", "throughput-30d", "batches-page-2", "batches-none", "batch-late", "batch-paused", "batch-expired",
		"lines", "line-failed", "line-waiting", "delete", "retry", "files-output", "file-delete", "upstream-down", "upstream-loading", "drain", "key-revoke",
	}
	return slices.DeleteFunc(h.pages(), func(p page) bool { return slices.Contains(like, p.name) })
}

// roots returns the pages of an unused gateway.
func roots() []page {
	return []page{
		{"overview", "/", 0},
		{"wall", "/wall", 0},
		{"throughput", "/throughput", 0},
		{"batches", "/batches", 0},
		{"new", "/new", 0},
		{"files", "/files", 0},
		{"upstreams", "/upstreams", 0},
		{"doctor", "/doctor", 0},
		{"keys", "/keys", 0},
		{"webhooks", "/webhooks", 0},
	}
}
