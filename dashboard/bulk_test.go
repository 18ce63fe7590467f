package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/dashboard"
)

// act sends an action on several batches, as the form of the list does.
func (h *harness) act(action string, ids []string, more ...string) *httptest.ResponseRecorder {
	form := url.Values{"action": {action}, "batch": ids, "back": {"/batches?state=active"}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard/batches/actions", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return h.do(r)
}

// byID is the text of the element with an id, "" without one.
func byID(t *testing.T, page, id string) (text string) {
	t.Helper()
	walk(parse(t, page), func(n *html.Node) {
		if got, _ := attribute(n, "id"); got == id {
			text = words(n)
		}
	})
	return text
}

func TestBulkActions(t *testing.T) {
	ids := build(t, nil).IDs()
	const missing = "batch_00000000000000000000000000000000"
	for _, tt := range []struct {
		action string
		ids    []int
		asks   bool
		does   []string       // by action and id, "%d" is an id
		says   map[int]string // of each batch, by its number
		form   []string
	}{
		{"pause", []int{0, 1, 5, 8}, false, []string{"pause 0", "pause 1"}, map[int]string{0: "Paused.", 1: "Paused.", 5: "already paused", 8: "it has ended"}, nil},
		{"resume", []int{1, 5, 6, 8}, false, []string{"resume 5"}, map[int]string{1: "it is not paused", 5: "Resumed.", 6: "no more of its lines will run", 8: "it has ended"}, nil},
		{"cancel", []int{1, 6, 7, 8}, true, []string{"cancel 1", "cancel 6"}, map[int]string{1: "being cancelled", 6: "being cancelled", 7: "Not needed", 8: "it has ended"}, nil},
		{"delete", []int{1, 8, 9}, true, []string{"delete false 8", "delete false 9"}, map[int]string{1: "Cancel it first", 8: "Deleted.", 9: "Deleted."}, nil},
		{"delete", []int{8}, true, []string{"delete true 8"}, map[int]string{8: "Deleted."}, []string{"input", "yes"}},
		{"retry", []int{1, 8, 9}, true, []string{"retry 9"}, map[int]string{1: "it has not ended", 8: "none of its lines failed", 9: "repeated by batch_"}, nil},
	} {
		t.Run(fmt.Sprint(tt.action, tt.form), func(t *testing.T) {
			h := build(t, nil)
			chosen := []string{missing}
			for _, i := range tt.ids {
				chosen = append(chosen, ids[i], ids[i]) // a repetition changes nothing
			}
			more := tt.form
			if tt.asks {
				w := h.act(tt.action, chosen)
				page := w.Body.String()
				if done := h.Done(); w.Code != http.StatusOK || len(done) > 0 {
					t.Fatalf("asking: %d, did %q", w.Code, done)
				}
				inspect(t, "asking", page)
				var able []string
				walk(parse(t, page), func(n *html.Node) {
					if name, _ := attribute(n, "name"); name == "batch" {
						id, _ := attribute(n, "value")
						able = append(able, id)
					}
				})
				if len(able) != len(tt.does) {
					t.Errorf("asks about %d batches, want %d", len(able), len(tt.does))
				}
				more = append([]string{"sure", "yes"}, more...)
			}
			w := h.act(tt.action, chosen, more...)
			page := w.Body.String()
			if w.Code != http.StatusOK {
				t.Fatalf("%d\n%s", w.Code, page)
			}
			inspect(t, "done", page)
			var want []string
			for _, d := range tt.does {
				words := strings.Fields(d)
				var i int
				if _, err := fmt.Sscan(words[len(words)-1], &i); err != nil {
					t.Fatal(err)
				}
				words[len(words)-1] = ids[i]
				want = append(want, strings.Join(words, " "))
			}
			if done := h.Done(); !slices.Equal(done, want) {
				t.Errorf("did %q, want %q", done, want)
			}
			for i, says := range tt.says {
				if got := byID(t, page, "bulk-"+ids[i]); !strings.Contains(got, says) {
					t.Errorf("batch %d: %q, want %q in it", i, got, says)
				}
			}
			if got := byID(t, page, "bulk-"+missing); !strings.Contains(got, "Not found") {
				t.Errorf("a batch that does not exist: %q", got)
			}
			if !strings.Contains(page, `href="/dashboard/batches?state=active"`) {
				t.Error("no way back to the list")
			}
		})
	}
}

func TestRefusedBulkActions(t *testing.T) {
	h := build(t, nil)
	ids := h.IDs()
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("batch_%032d", i)
	}
	for name, tt := range map[string]struct {
		action string
		ids    []string
	}{
		"no batch":       {"pause", nil},
		"no such action": {"explode", ids[1:2]},
		"not in bulk":    {"priority", ids[1:2]},
		"too many":       {"pause", many},
	} {
		w := h.act(tt.action, tt.ids, "sure", "yes")
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", name, w.Code)
		}
		inspect(t, name, w.Body.String())
	}
	r := httptest.NewRequest(http.MethodPost, "/dashboard/batches/actions", strings.NewReader("action=pause&batch="+ids[1]))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if w := h.do(r); w.Code != http.StatusForbidden {
		t.Errorf("from another site: %d, want 403", w.Code)
	}
	if done := h.Done(); len(done) > 0 {
		t.Errorf("did %q", done)
	}
	for _, place := range []string{"//evil.example/", "https://evil.example/", "/../../x"} {
		if page := h.act("pause", ids[1:2], "back", place).Body.String(); strings.Contains(page, "evil") || strings.Contains(page, "/../") {
			t.Errorf("leads back to %q", place)
		}
	}
}

// TestReasons checks that a row has the reason why its batch failed, ended early or does not
// continue.
func TestReasons(t *testing.T) {
	h := build(t, nil)
	ids := h.IDs()
	h.Change(ids[1], func(b *dashboard.BatchDetail) {
		b.PausedAt, b.PauseReason = moment, "3 lines in a row killed <the> server"
	})
	page := h.page("/batches")
	rows := map[string]string{}
	walk(parse(t, page), func(n *html.Node) {
		if n.Data != "tr" {
			return
		}
		walk(n, func(c *html.Node) {
			if id, _ := attribute(c, "value"); c.Data == "input" && strings.HasPrefix(id, "batch_") {
				rows[id] = words(n)
			}
		})
	})
	for i, want := range map[int]string{
		1:  "paused by the gateway: 3 lines in a row killed <the> server",
		5:  "paused on request",
		10: "line 18: This line is not valid JSON",
		11: "its deadline passed",
	} {
		if got := rows[ids[i]]; !strings.Contains(got, want) {
			t.Errorf("batch %d: %q, want %q in it", i, got, want)
		}
	}
	if !strings.Contains(rows[ids[10]], "(and 2 more)") {
		t.Errorf("a batch with three findings: %q", rows[ids[10]])
	}
}

// TestOrders: the list can be read in each order, page by page, with its filter.
func TestOrders(t *testing.T) {
	h := build(t, nil)
	ids := h.IDs()
	first := func(page string) (id string) {
		walk(parse(t, page), func(n *html.Node) {
			if name, _ := attribute(n, "name"); name == "batch" && id == "" {
				id, _ = attribute(n, "value")
			}
		})
		return id
	}
	for path, want := range map[string]string{
		"/batches":                           ids[0],
		"/batches?order=oldest":              ids[len(ids)-1],
		"/batches?order=state":               ids[1],
		"/batches?order=state&state=paused":  ids[5],
		"/batches?order=oldest&state=active": ids[7],
	} {
		if got := first(h.page(path)); got != want {
			t.Errorf("%s begins with %s, want %s", path, got, want)
		}
	}
	page := h.page("/batches?order=oldest&model=" + url.QueryEscape("Qwen/Qwen3-32B"))
	for _, want := range []string{
		`href="/dashboard/batches?after=`, `order=oldest"`, // the next page
		`href="/dashboard/batches?model=Qwen%2FQwen3-32B&amp;order=state"`,
		`href="/dashboard/batches?model=Qwen%2FQwen3-32B"`, // the newest first
		`aria-sort="ascending"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page", want)
		}
	}
	if page := h.page("/batches?order=random"); !strings.Contains(page, "Unknown order.") {
		t.Error("an unknown order is not named")
	}
}
