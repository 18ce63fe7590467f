package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/dashboard/dashboardtest"
)

var once = regexp.MustCompile(`name="once" value="([0-9a-f]{32})"`)

// TestKeyIsShownOnce follows a key from the form to its revocation.
func TestKeyIsShownOnce(t *testing.T) {
	h := build(t, nil)
	form := once.FindStringSubmatch(h.page("/keys/new"))
	if form == nil {
		t.Fatal("the form has no id")
	}
	send := func() *httptest.ResponseRecorder {
		return h.post("/keys", "once", form[1], "name", "ci", "tenant", "team-a", "scope", "live", "models", "m1\r\n\r\n m2 \r\nm1", "requests_per_minute", "60", "cost_per_month", "12.5", "expires", "2026-11-30")
	}
	made := send()
	if made.Code != http.StatusOK || strings.Count(made.Body.String(), dashboardtest.Secret(1)) != 1 || made.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d, Cache-Control %q, want the secret once:\n%s", made.Code, made.Header().Get("Cache-Control"), made.Body)
	}
	if again := send(); again.Code != http.StatusConflict || strings.Contains(again.Body.String(), "tg-") {
		t.Errorf("the form sent again: got %d, want 409 without a secret:\n%s", again.Code, again.Body)
	}
	list := h.page("/keys")
	for _, want := range []string{"key_" + form[1], "team-a", "m1, m2", "requests per minute 60", "cost per month 12.5", "Dec 1"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %q", want)
		}
	}
	if strings.Contains(list, "tg-") {
		t.Error("the list has a secret")
	}
	id := "/keys/key_" + form[1]
	if page := h.page(id + "/rotate"); !strings.Contains(page, `value="24h0m0s"`) {
		t.Errorf("the question has no choice of 24 h:\n%s", page)
	}
	if w := h.post(id+"/rotate", "overlap", "24h0m0s"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), dashboardtest.Secret(2)) || !strings.Contains(w.Body.String(), "accepted until") {
		t.Errorf("rotated: %d\n%s", w.Code, w.Body)
	}
	for _, bad := range []string{"", "-1h", "1000000h", "x"} {
		if w := h.post(id+"/rotate", "overlap", bad); w.Code != http.StatusBadRequest {
			t.Errorf("overlap %q: got %d, want 400", bad, w.Code)
		}
	}
	if page := h.page(id + "/revoke"); !strings.Contains(page, "cannot be undone") {
		t.Errorf("the question does not say what is lost:\n%s", page)
	}
	if w := h.post(id + "/revoke"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dashboard/keys?done=revoked" {
		t.Errorf("revoked: %d %s", w.Code, w.Header().Get("Location"))
	}
	if strings.Contains(h.page("/keys"), "key_"+form[1]) {
		t.Error("the list of valid keys has a revoked one")
	}
	if !strings.Contains(h.page("/keys?show=all"), "key_"+form[1]) {
		t.Error("the list of all keys has no revoked one")
	}
	if strings.Contains(h.page("/keys?show=all&q=ci"), id+"/r") {
		t.Error("a revoked key has buttons")
	}
}

// TestKeyForm checks that a form with an error is shown again with what was entered.
func TestKeyForm(t *testing.T) {
	h := build(t, nil)
	for field, value := range map[string]string{
		"name": "a\x1bb", "tenant": "a/b", "scope": "root", "requests_per_minute": "-1", "tokens_per_minute": "1e3", "batches_per_hour": "99999999999999999999", "expires": "2026-11-22", "models": strings.Repeat("m", 257),
	} {
		good := map[string]string{"name": "entered", "tenant": "team-a", "scope": "live", "models": "entered-model"}
		good[field] = value
		var pairs []string
		for name, v := range good {
			pairs = append(pairs, name, v)
		}
		w := h.post("/keys", append(pairs, "once", strings.Repeat("a", 32))...)
		body := w.Body.String()
		if w.Code != http.StatusBadRequest || !strings.Contains(body, `role="alert"`) || field != "name" && !strings.Contains(body, `value="entered"`) {
			t.Errorf("%s %.20q: got %d, want 400 and the form:\n%s", field, value, w.Code, body)
		}
		if strings.ContainsRune(body, 0x1b) {
			t.Errorf("%s: the page has a control character", field)
		}
	}
	if w := h.post("/keys", "name", "x", "tenant", "t"); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "at least one scope") {
		t.Errorf("without a scope: got %d\n%s", w.Code, w.Body)
	}
	for _, done := range h.Done() {
		t.Errorf("done: %s", done)
	}
	foreign := httptest.NewRequest(http.MethodPost, "/dashboard/keys", strings.NewReader("name=x&tenant=t&scope=admin"))
	foreign.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	if w := h.do(foreign); w.Code != http.StatusForbidden || len(h.Done()) != 0 {
		t.Errorf("from another site: got %d, done %v", w.Code, h.Done())
	}
}

// TestKeyListHasPages checks the filters and that every key is on one page.
func TestKeyListHasPages(t *testing.T) {
	h := build(t, nil)
	ids := regexp.MustCompile(`<code class="nowrap">(key_[0-9a-f]{32})</code>`)
	for query, want := range map[string]int{"": 29, "show=all": 31, "tenant=team-1": 9, "q=Service+1": 11, "q=service&tenant=none": 0} {
		seen := make(map[string]bool)
		path, pages := "/keys?"+query, 0
		for path != "" {
			page := h.page(path)
			for _, id := range ids.FindAllStringSubmatch(page, -1) {
				if seen[id[1]] {
					t.Errorf("%s: %s is there twice", query, id[1])
				}
				seen[id[1]] = true
			}
			path = ""
			walk(parse(t, page), func(n *html.Node) {
				if rel, _ := attribute(n, "rel"); rel == "next" {
					href, _ := attribute(n, "href")
					path = strings.TrimPrefix(href, "/dashboard")
				}
			})
			if pages++; pages > 5 {
				t.Fatalf("%s: the pages do not end", query)
			}
		}
		if len(seen) != want {
			t.Errorf("%s: got %d keys, want %d", query, len(seen), want)
		}
	}
	if w := h.get("/keys?after=key_none"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown page: got %d, want 404", w.Code)
	}
	if page := h.page("/keys"); !strings.Contains(page, "static/ops") || strings.Contains(page, "/keys/static") {
		t.Error("keys of the configuration are not listed without buttons")
	}
}

// TestKeysOfOthersCannotBeReplaced checks that the page offers only what its reader may do,
// and that the key in use is marked.
func TestKeysOfOthersCannotBeReplaced(t *testing.T) {
	h := build(t, nil, func(cfg *dashboard.Config) {
		cfg.Identity = func(*http.Request) access.Identity {
			return access.Identity{KeyID: "static/ops", Tenant: "default", Scopes: []access.Scope{access.Admin}, Models: []string{"Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct"}}
		}
	})
	page := h.page("/keys")
	if n := strings.Count(page, "/rotate"); n != 1 {
		t.Errorf("got %d keys that can be replaced, want that with the reader's models", n)
	}
	if !strings.Contains(page, "your current key") {
		t.Error("the reader's key is not marked")
	}
}

// TestKeyLimitsForm changes limits of a key by the form. It finds a form that overwrites
// limits which were changed after it was opened, that does more when it is sent twice, that
// loses what was entered, and one for a key that is revoked.
func TestKeyLimitsForm(t *testing.T) {
	h := build(t, nil)
	const key = "/keys/key_00000000000000000000000000000001"
	page := h.page(key + "/limits")
	for _, want := range []string{`name="requests_per_minute" value="600"`, `name="was-requests_per_minute" value="600"`, `name="cost_per_month" value=""`, "nightly"} {
		if !strings.Contains(page, want) {
			t.Errorf("the form has no %s:\n%s", want, page)
		}
	}
	opened := []string{"was-requests_per_minute", "600", "was-lines_queued", "2000000"}
	send := func(pairs ...string) *httptest.ResponseRecorder {
		return h.post(key+"/limits", append(pairs, opened...)...)
	}
	first := []string{"requests_per_minute", "600", "lines_queued", "", "cost_per_month", " 12.5 "}
	for range 2 {
		if w := send(first...); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/dashboard/keys?done=limits" {
			t.Fatalf("got %d %s:\n%s", w.Code, w.Header().Get("Location"), w.Body)
		}
	}
	if w := send("requests_per_minute", "0", "lines_queued", "2000000", "tokens_per_minute", "7"); w.Code != http.StatusSeeOther { // another reader's
		t.Fatalf("got %d:\n%s", w.Code, w.Body)
	}
	if w := send("requests_per_minute", "600", "lines_queued", "2000000"); w.Code != http.StatusSeeOther {
		t.Fatalf("without a change: got %d:\n%s", w.Code, w.Body)
	}
	const limits = "limits of key key_00000000000000000000000000000001 "
	want := []string{limits + "cost_per_month 12500000000 lines_queued 0", limits + "cost_per_month 12500000000 lines_queued 0", limits + "requests_per_minute 0 tokens_per_minute 7"}
	if got := h.Done(); !slices.Equal(got, want) {
		t.Errorf("done: got %q, want %q", got, want)
	}
	list := h.page("/keys")
	for _, want := range []string{"tokens per minute 7", "cost per month 12.5"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %q", want)
		}
	}
	for name, value := range map[string]string{"requests_per_minute": "-1", "tokens_per_minute": "1e3", "lines_queued": "99999999999999999999", "cost_per_month": "a\x1bb"} {
		w := send(name, value, "batches_per_hour", "<77>")
		body := w.Body.String()
		if w.Code != http.StatusBadRequest || !strings.Contains(body, `role="alert"`) || !strings.Contains(body, `name="batches_per_hour" value="&lt;77&gt;"`) || !strings.Contains(body, `name="was-requests_per_minute" value="600"`) || strings.ContainsRune(body, 0x1b) {
			t.Errorf("%s %q: got %d, want 400 and the form with what was entered:\n%s", name, value, w.Code, body)
		}
	}
	if w := h.post("/keys/key_none/limits", "requests_per_minute", "1"); w.Code != http.StatusNotFound {
		t.Errorf("an unknown key: got %d, want 404", w.Code)
	}
	if w := h.post(key + "/revoke"); w.Code != http.StatusSeeOther {
		t.Fatalf("revoked: got %d", w.Code)
	}
	if w := send(first...); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "The key is revoked or has expired.") || strings.Contains(w.Body.String(), "<button class=\"main\">") {
		t.Errorf("a revoked key: got %d:\n%s", w.Code, w.Body)
	}
	if strings.Contains(h.page("/keys?show=all"), key+"/limits") {
		t.Error("a revoked key has a form of limits")
	}
}
