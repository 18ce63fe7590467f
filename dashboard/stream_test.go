package dashboard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
)

// sent is an event as a browser understands it.
type sent struct{ name, data string }

// viewer reads an event stream.
type viewer struct {
	*testing.T
	resp  *http.Response
	lines *bufio.Scanner
}

// serve puts the dashboard on a real server, brought up to date often.
func (h *harness) serve() string {
	server := httptest.NewServer(h.dashboard)
	h.Cleanup(func() {
		h.dashboard.Close()
		server.Close()
	})
	return server.URL + "/dashboard"
}

func watch(t *testing.T, url string, header ...string) *viewer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); resp.Body.Close(); http.DefaultClient.CloseIdleConnections() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	return &viewer{t, resp, lines}
}

// next returns the next event, by the rules of the standard
// (https://html.spec.whatwg.org/multipage/server-sent-events.html); false at
// the end.
func (v *viewer) next() (sent, bool) {
	var e sent
	var data []string
	for v.lines.Scan() {
		line := v.lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			if line == "" && e.name != "" {
				e.data = strings.Join(data, "\n")
				return e, true
			}
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		}
	}
	return sent{}, false
}

func quick(c *dashboard.Config) { c.Interval = 5 * time.Millisecond }

// TestStreams reads what every page sends first: sections that the page has,
// with what the page shows in them.
func TestStreams(t *testing.T) {
	h := build(t, nil, quick)
	url := h.serve()
	for _, path := range h.pages() {
		page := parse(t, h.page(path))
		var stream string
		wanted := map[string]bool{}
		walk(page, func(n *html.Node) {
			if to, ok := attribute(n, "sse-connect"); ok {
				stream = to
			}
			if name, ok := attribute(n, "sse-swap"); ok {
				wanted[name] = true
			}
		})
		if stream == "" {
			continue
		}
		v := watch(t, url+strings.TrimPrefix(stream, "/dashboard"))
		if v.resp.StatusCode != http.StatusOK || v.resp.Header.Get("Content-Type") != "text/event-stream" || v.resp.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d %v", stream, v.resp.StatusCode, v.resp.Header)
		}
		for len(wanted) > 0 {
			e, ok := v.next()
			if !ok {
				t.Fatalf("%s ended, and %v did not come", stream, wanted)
			}
			if !wanted[e.name] {
				t.Errorf("%s sent %q, which the page has no place for", stream, e.name)
				break
			}
			delete(wanted, e.name)
		}
		v.resp.Body.Close()
	}
}

// TestOnlyChanges checks that only changed parts are sent.
func TestOnlyChanges(t *testing.T) {
	h := build(t, nil, quick)
	id := h.IDs()[2]
	v := watch(t, h.serve()+"/events/batches/"+id)
	for range 7 {
		v.next()
	}
	h.Change(id, func(b *dashboard.BatchDetail) { b.Counts.Completed += 5_000 })
	var names []string
	for range 1 {
		e, _ := v.next()
		names = append(names, e.name)
	}
	h.Change(id, func(b *dashboard.BatchDetail) {
		b.Status, b.FinalizingAt, b.CompletedAt = batch.Completed, moment, moment
	})
	for !slices.Contains(names, "timeline") {
		e, ok := v.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		names = append(names, e.name)
		if e.name == "actions" && !strings.Contains(e.data, "Delete …") {
			t.Error("the actions are those of before")
		}
	}
	if names[0] != "progress" {
		t.Errorf("lines that were done sent %q first", names[0])
	}
	if slices.Contains(names, "errors") || slices.Contains(names, "charts") {
		t.Errorf("unchanged parts were sent: %q", names)
	}
}

// TestGone checks that the deletion of a batch ends the stream of its page with an event.
func TestGone(t *testing.T) {
	h := build(t, nil, quick)
	id := h.IDs()[8]
	v := watch(t, h.serve()+"/events/batches/"+id)
	v.next()
	if w := h.post("/batches/" + id + "/delete"); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code)
	}
	for {
		e, ok := v.next()
		if !ok {
			t.Fatal("it ended without a word")
		}
		if e.name == "gone" {
			break
		}
	}
	if _, ok := v.next(); ok {
		t.Error("the stream continued, want its end")
	}
}

// TestStreamsOfRevokedKeys checks that a stream ends when its client is not valid any
// more, also if no new snapshot arrives, and that streams of others continue.
func TestStreamsOfRevokedKeys(t *testing.T) {
	t.Parallel()
	for name, interval := range map[string]time.Duration{"snapshots": 5 * time.Millisecond, "no snapshots": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var revoked atomic.Bool
			h := build(t, nil, func(c *dashboard.Config) {
				c.Interval = interval
				c.Valid = func(r *http.Request) bool { return r.URL.Query().Get("other") != "" || !revoked.Load() }
			})
			url := h.serve()
			other := watch(t, url+"/events/?other=1")
			v := watch(t, url+"/events/")
			revoked.Store(true)
			last := sent{}
			for e, ok := v.next(); ok; e, ok = v.next() {
				last = e
			}
			if last.name != "gone" || !strings.Contains(last.data, "revoked") {
				t.Errorf("last event is %+v, want the reason of the end", last)
			}
			if interval < time.Second { // later snapshots arrive
				for range 5 {
					if e, ok := other.next(); !ok || e.name == "gone" {
						t.Fatalf("got %+v, %t on the stream of a valid client, want that it continues", e, ok)
					}
				}
			}
		})
	}
}

// TestTrouble checks that the overview shows when the source is unavailable, and continues
// afterwards.
func TestTrouble(t *testing.T) {
	h := build(t, nil, quick)
	v := watch(t, h.serve()+"/events/")
	for range 5 {
		v.next()
	}
	h.FailWith(fmt.Errorf("asking: %w", batch.ErrUnavailable))
	for {
		e, ok := v.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		if e.name == "problems" {
			if !strings.Contains(e.data, "The store does not answer") {
				t.Errorf("got %s", e.data)
			}
			break
		}
	}
	h.FailWith(nil)
	for {
		e, ok := v.next()
		if !ok {
			t.Fatal("the stream ended")
		}
		if e.name == "problems" && strings.Contains(e.data, "vllm-2") {
			break
		}
	}
}

func TestTooManyViewers(t *testing.T) {
	h := build(t, nil, quick, func(c *dashboard.Config) { c.Viewers = 2 })
	url := h.serve()
	watch(t, url+"/events/").next()
	watch(t, url+"/events/upstreams").next()
	v := watch(t, url+"/events/")
	if v.resp.StatusCode != http.StatusServiceUnavailable || v.resp.Header.Get("Retry-After") == "" {
		t.Errorf("the third: %d", v.resp.StatusCode)
	}
	if w := h.get("/"); w.Code != http.StatusOK {
		t.Errorf("and the page itself: %d", w.Code)
	}
}

// Close ends all streams; pages are answered still.
func TestCloseEndsStreams(t *testing.T) {
	h := build(t, nil, quick)
	v := watch(t, h.serve()+"/events/")
	v.next()
	h.dashboard.Close()
	for {
		if _, ok := v.next(); !ok {
			break
		}
	}
	if err := v.lines.Err(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the stream was cut: %v", err)
	}
	if w := h.get("/throughput"); w.Code != http.StatusOK {
		t.Errorf("a page afterwards: %d", w.Code)
	}
}
