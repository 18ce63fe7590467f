package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams"
)

// A managed key has the limits that it was made with, also after a rotation, and GET
// /v1/keys shows them. Values that no limit can have are refused.
func TestManagedKeyLimits(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	for _, bad := range []string{`{"requests_per_minute":-1}`, `{"requests_per_minute":1.5}`, `{"lines_queued":1000000000001}`, `7`} {
		if a, _ := g.keys(t, "admin-secret", "", `{"name":"x","limits":`+bad+`}`); a.status != 400 {
			t.Errorf("limits %s: got %d %s, want 400", bad, a.status, a.body)
		}
	}
	_, k := g.keys(t, "admin-secret", "", `{"name":"limited","limits":{"requests_per_minute":1}}`)
	const chat = `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
	for i, want := range []int{200, 429} {
		if a := g.ask(t, "POST", "/v1/chat/completions", chat, "Authorization", "Bearer "+k.Key); a.status != want {
			t.Errorf("request %d: got %d %s, want %d", i, a.status, a.body, want)
		}
	}
	a, rotated := g.keys(t, "admin-secret", "/"+k.ID+"/rotate", `{}`)
	if !strings.Contains(a.body, `"limits":{"requests_per_minute":1}`) {
		t.Errorf("after the rotation: got %s, want the limits of the key", a.body)
	}
	if a := g.ask(t, "POST", "/v1/chat/completions", chat, "Authorization", "Bearer "+rotated.Key); a.status != 429 {
		t.Errorf("after the rotation: got %d %s, want 429", a.status, a.body)
	}
	until(t, "the use of limits is stored", func() bool {
		_, err := os.Stat(filepath.Join(g.app.Data, "tidegate-limits.json"))
		return err == nil
	})
	info, err := os.Stat(g.app.Data)
	if err != nil || foreign(g.app.Data, info) {
		t.Errorf("got a data directory with files of others, %v, want one of the gateway alone", err)
	}
}

// Each gateway enforces its part of the limits, whether the loads of the others are known or
// not.
func TestPeersShareLimits(t *testing.T) {
	limiter := limits.New(nil)
	limiter.Apply(limits.Config{Tenants: map[string]access.Limits{"a": {RequestsPerMinute: 60}}})
	pool := upstreams.NewPool(zap.NewNop())
	t.Cleanup(pool.Close)
	d := dispatcher{Pool: pool, limits: limiter, retired: new(atomic.Bool)}
	for _, loads := range []map[string]batch.Load{{}, nil} {
		d.SetPeers(batch.Peers{}, map[string]batch.Load{})
		d.SetPeers(batch.Peers{All: 2}, loads)
		grant, refused := limiter.Admit(limits.Client{Tenant: "a"}, limits.Spend{Tokens: 1})
		if refused != nil {
			t.Fatal(refused.Error())
		}
		grant.End(limits.Outcome{}) // refunds it
		if left := limiter.Usage()[0].Remaining["requests_per_minute"]; left != 20 {
			t.Errorf("with two peers: got %d left, want 20", left)
		}
	}
}

// Limits of a key are changed while it is used: the change is merged, what was used counts,
// nothing in flight ends, and each refusal names its reason. It finds a change that drops
// other limits, that renews what is used, that gives a key more than its administrator has,
// and one that the gateway applies only after a restart.
func TestChangedKeyLimits(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, k := g.keys(t, "admin-secret", "", `{"name":"limited","limits":{"requests_per_minute":1,"lines_queued":5}}`)
	const chat = `{"model":"` + model + `","messages":[{"role":"user","content":"hi"}]}`
	use := func(when string, statuses ...int) {
		t.Helper()
		for i, want := range statuses {
			if a := g.ask(t, "POST", "/v1/chat/completions", chat, "Authorization", "Bearer "+k.Key); a.status != want {
				t.Errorf("%s, request %d: got %d %s, want %d", when, i, a.status, a.body, want)
			}
		}
	}
	change := func(key, body string, status int, want string) {
		t.Helper()
		a := g.ask(t, "POST", "/v1/keys/"+k.ID+"/limits", body, "Authorization", "Bearer "+key, "Content-Type", "application/json")
		if a.status != status || !strings.Contains(a.body, want) {
			t.Errorf("%s: got %d %s, want %d and %s", body, a.status, a.body, status, want)
		}
	}
	use("at first", 200, 429)
	change("admin-secret", `{"requests_per_minute":3}`, 200, `"limits":{"requests_per_minute":3,"lines_queued":5}`)
	use("with two more", 200, 200, 429)
	change("admin-secret", `{"requests_per_minute":0,"tokens_per_month":1}`, 200, `"limits":{"lines_queued":5,"tokens_per_month":1}`)
	use("with a budget below what is used", 429)
	change("admin-secret", `{"tokens_per_month":null}`, 200, `"limits":{"lines_queued":5}`)
	use("without a limit", 200, 200)

	for body, want := range map[string]string{
		``: "Name at least one limit", `{}`: "Name at least one limit", `null`: "Name at least one limit", `[]`: "could not parse", `{"rpm":1}`: "limits are: requests_per_minute",
		`{"lines_queued":-1}`: "whole number", `{"lines_queued":1e30}`: "whole number", `{"lines_queued":9,"cost_per_month":1e9}`: "cost_per_month must be an amount",
	} {
		change("admin-secret", body, 400, want)
	}
	change("admin-secret", `{"lines_queued":"`+strings.Repeat("9", maxObject)+`"}`, 400, "could not parse")
	change("batch-secret", `{"lines_queued":1}`, 403, "missing_scope")
	_, slow := g.keys(t, "admin-secret", "", `{"name":"slow","scopes":["admin"],"limits":{"requests_per_minute":5}}`)
	change(slow.Key, `{"lines_queued":1}`, 403, "more_rights")
	change(slow.Key, `{"requests_per_minute":6}`, 403, "more_rights")
	change(slow.Key, `{"requests_per_minute":5}`, 200, `"limits":{"requests_per_minute":5,"lines_queued":5}`)
	change(slow.Key, `{"requests_per_minute":0}`, 403, "more_rights")
	if a, _ := g.keys(t, slow.Key, "/"+slow.ID+"/limits", `{"requests_per_minute":6}`); a.status != 403 {
		t.Errorf("the own limit: got %d %s, want 403", a.status, a.body)
	}
	if a := g.ask(t, "GET", "/v1/keys/"+k.ID+"/limits", "", bearer("admin")...); a.status != 405 {
		t.Errorf("GET: got %d %s, want 405", a.status, a.body)
	}
	for _, id := range []string{"static/admin", "key_none", "static%2Fadmin"} {
		if a := g.ask(t, "POST", "/v1/keys/"+id+"/limits", `{"lines_queued":1}`, append(bearer("admin"), "Content-Type", "application/json")...); a.status != 404 {
			t.Errorf("%s: got %d %s, want 404", id, a.status, a.body)
		}
	}

	var all sync.WaitGroup
	for _, l := range new(access.Limits).Fields() {
		all.Go(func() {
			if a, _ := g.keys(t, "admin-secret", "/"+k.ID+"/limits", `{"`+l.Name+`":1000}`); a.status != 200 {
				t.Errorf("%s at the same time as others: got %d %s", l.Name, a.status, a.body)
			}
		})
	}
	all.Wait()
	a := g.ask(t, "GET", "/v1/keys/"+k.ID, "", bearer("admin")...)
	for _, l := range new(access.Limits).Fields() {
		if !strings.Contains(a.body, `"`+l.Name+`":1000`) {
			t.Errorf("after changes at the same time: got %s, want %s", a.body, l.Name)
		}
	}
	if a, _ := g.keys(t, "admin-secret", "/"+k.ID+"/revoke", ""); a.status != 200 {
		t.Fatalf("revoked: %d %s", a.status, a.body)
	}
	change("admin-secret", `{"lines_queued":1}`, 409, "The key is revoked or has expired.")
}

// A client reads the limits of its key and of its tenant with their use, in the API and on
// the page of usage; an administrator reads all, also of keys that were never used. It finds
// another tenant's or colleague's key in the answer, queued lines of other keys, a budget
// that shows no use, and an unused key that is missing.
func TestLimitsOfClients(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.app.Tenants = []TenantConfig{
		{Name: "team-a", Limits: TenantLimits{Limits: access.Limits{LinesQueued: 100, TokensPerMonth: 1000}}},
		{Name: "team-b", Limits: TenantLimits{Limits: access.Limits{RequestsPerMinute: 50}}},
	}
	g.runAll(t)
	_, own := g.keys(t, "admin-secret", "", `{"name":"own-key","tenant":"team-a","limits":{"requests_per_minute":1,"lines_queued":20}}`)
	_, colleague := g.keys(t, "admin-secret", "", `{"name":"second-key","tenant":"team-a","limits":{"lines_queued":30}}`)
	_, other := g.keys(t, "admin-secret", "", `{"name":"third-key","tenant":"team-b","limits":{"lines_queued":40}}`)
	_, live := g.keys(t, "admin-secret", "", `{"name":"live-key","tenant":"team-a","scopes":["live"]}`)

	var lines strings.Builder
	for i := range 3 {
		fmt.Fprintf(&lines, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":[{"role":"user","content":"hi"}]}}`+"\n", i, model)
	}
	g.createWith(t, own.Key, lines.String())
	limits := func(secret string) string {
		t.Helper()
		a := g.ask(t, "GET", "/limits", "", "Authorization", "Bearer "+secret)
		if a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		return a.body
	}
	check := func(who, text string, want, not []string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: got %s, want %s", who, text, w)
			}
		}
		for _, w := range not {
			if strings.Contains(text, w) {
				t.Errorf("%s: got %s, want no %s", who, text, w)
			}
		}
	}
	until(t, "two lines wait for the limit of the key", func() bool {
		return strings.Contains(limits(own.Key), `"used":{"lines_queued":2,"requests_per_minute":1}`)
	})
	ownKey, tenantA := `{"key":"`+own.ID+`","key_name":"own-key","key_tenant":"team-a",`, `"tenant":"team-a","limits":{"lines_queued":100,"tokens_per_month":1000}`
	check("the key", limits(own.Key), []string{ownKey, tenantA, `"used":{"lines_queued":2}`}, []string{"second-key", "third-key", "team-b"})
	if text := limits(own.Key); strings.Contains(text, `"tokens_per_month":{"limit":1000,"used":0,`) {
		t.Errorf("got %s, want the tokens of the line that was done", text)
	}
	check("its colleague", limits(colleague.Key), []string{colleague.ID, tenantA, `"used":{"lines_queued":0}`, `"used":{"lines_queued":2}`}, []string{own.ID, "own-key", "team-b"})
	check("another tenant", limits(other.Key), []string{other.ID, `"tenant":"team-b"`, `"used":{"requests_per_minute":0}`, `"used":{"lines_queued":0}`}, []string{own.ID, colleague.ID, "team-a"})
	check("an administrator", limits("admin-secret"), []string{ownKey, colleague.ID, other.ID, tenantA, `"tenant":"team-b"`}, nil)
	if a := g.ask(t, "GET", "/limits", "", "Authorization", "Bearer "+live.Key); a.status != 403 {
		t.Errorf("without the scope read: got %d %s, want 403", a.status, a.body)
	}

	page := func(secret string) string {
		t.Helper()
		return g.ask(t, "GET", "/dashboard/usage", "", "Authorization", "Bearer "+secret).body
	}
	check("page of the key", page(own.Key), []string{"Limits and their use now", own.ID, "own-key", "team-a", "tokens per month"}, []string{"second-key", "third-key", "team-b"})
	check("page of another tenant", page(other.Key), []string{other.ID, "team-b"}, []string{own.ID, "second-key", "team-a"})
	check("page of an administrator", page("admin-secret"), []string{own.ID, colleague.ID, other.ID, "team-a", "team-b"}, nil)
	if a, _ := g.keys(t, "admin-secret", "/"+other.ID+"/limits", `{"lines_queued":0}`); a.status != 200 {
		t.Fatalf("removed: %d %s", a.status, a.body)
	}
	check("after its limits were removed", limits("admin-secret"), []string{own.ID}, []string{other.ID})
}

// TestStorageLimitsOfTenants finds storage limits of a tenant that are not enforced, count for
// another tenant, are not applied by a reload, or are shown with the use of others or to them. It
// also finds defaults that are not shown, and pending uploads that are not counted.
func TestStorageLimitsOfTenants(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.app.Batch.MaxStoredSize, g.app.Batch.MaxOpenUploads = 10_000, 20
	g.app.Tenants = []TenantConfig{{Name: "team-a", Limits: TenantLimits{MaxStoredSize: 1000, MaxFiles: 50, MaxOpenUploads: 1}}, {Name: "team-c", Weight: 2}}
	g.runAll(t)
	_, a := g.keys(t, "admin-secret", "", `{"name":"a","tenant":"team-a"}`)
	_, b := g.keys(t, "admin-secret", "", `{"name":"b","tenant":"team-b"}`)
	begin := func(key string) int {
		return g.ask(t, "POST", "/v1/uploads", `{"filename":"in.jsonl","purpose":"batch","mime_type":"application/jsonl","bytes":10}`, "Authorization", "Bearer "+key, "Content-Type", "application/json").status
	}
	line := `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 700) + `"}]}}` + "\n"
	const part = "--b\r\nContent-Disposition: form-data; name="
	body := part + "\"purpose\"\r\n\r\nbatch\r\n" + part + "\"file\"; filename=\"in.jsonl\"\r\n\r\n" + line + "\r\n--b--\r\n"
	for _, tt := range []struct {
		key    string
		status int
		word   string
	}{
		{a.Key, 200, ""}, {a.Key, 507, "max_stored_size"}, {b.Key, 200, ""}, {b.Key, 200, ""},
	} {
		got := g.ask(t, "POST", "/v1/files", body, "Authorization", "Bearer "+tt.key, "Content-Type", "multipart/form-data; boundary=b")
		if got.status != tt.status || !strings.Contains(got.body, tt.word) {
			t.Errorf("got %d %s, want %d with %q", got.status, got.body, tt.status, tt.word)
		}
	}
	if first, second, other := begin(a.Key), begin(a.Key), begin(b.Key); first != 200 || second != 429 || other != 200 {
		t.Errorf("uploads in parts: got %d, %d and %d, want 200, 429 and 200", first, second, other)
	}
	storage := func(tenant, limits string) string {
		return `{"tenant":"` + tenant + `","limits":{},"in_flight":0,"remaining":{},"used":{},"storage":[` + limits + `]}`
	}
	of := map[string]string{
		a.Key: storage("team-a", fmt.Sprintf(`{"name":"max_stored_size","limit":1000,"used":%d},{"name":"max_files","limit":50,"used":1},{"name":"max_open_uploads","limit":1,"used":1}`, len(line))),
		b.Key: storage("team-b", fmt.Sprintf(`{"name":"max_stored_size","limit":10000,"used":%d,"default":true},{"name":"max_files","limit":1000000,"used":2,"default":true},{"name":"max_open_uploads","limit":20,"used":1,"default":true}`, 2*len(line))),
	}
	const nothing = `{"name":"max_stored_size","limit":10000,"used":0,"default":true},{"name":"max_files","limit":1000000,"used":0,"default":true},{"name":"max_open_uploads","limit":20,"used":0,"default":true}`
	of["admin-secret"] = of[a.Key] + "," + of[b.Key] + "," + storage("team-c", nothing)
	for key, list := range of {
		want := `{"object":"list","data":[` + list + `]}`
		if got := g.ask(t, "GET", "/limits", "", "Authorization", "Bearer "+key); got.status != 200 || strings.TrimSpace(got.body) != want {
			t.Errorf("got %d %s, want %s", got.status, got.body, want)
		}
	}
	page := g.ask(t, "GET", "/dashboard/usage", "", "Authorization", "Bearer "+a.Key).body
	for _, want := range []string{"max stored size", "1000 B", fmt.Sprintf("%d B", len(line)), "max open uploads"} {
		if !strings.Contains(page, want) {
			t.Errorf("got a page without %q", want)
		}
	}
	if strings.Contains(page, "default</span>") || strings.Contains(page, "team-b") {
		t.Errorf("got a page with defaults or another tenant: %s", page)
	}
	if page := g.ask(t, "GET", "/dashboard/usage", "", "Authorization", "Bearer "+b.Key).body; !strings.Contains(page, "default</span>") || strings.Contains(page, "team-a") {
		t.Errorf("got a page without defaults, or with another tenant: %s", page)
	}
}

// TestRetriesCountAsBatches retries failed lines with a key that may make two batches in an
// hour. It finds retries that no limit of new batches counts, one that counts although its
// batch was not made, and a repetition that is refused.
func TestRetriesCountAsBatches(t *testing.T) {
	_, url := newSim(t)
	g := newGateway(t, url)
	teamKeys(t, &g.app)
	g.runAll(t)
	_, k := g.keys(t, "admin-secret", "", `{"name":"retrier","tenant":"team-a","limits":{"batches_per_hour":2}}`)
	_, made := g.createWith(t, k.Key, `{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"`+model+`","messages":[{"role":"user","content":"[[sim:status=400]]"}]}}`)
	var b openai.Batch
	until(t, "the batch has completed", func() bool {
		a := g.ask(t, "GET", "/v1/batches/"+made, "", "Authorization", "Bearer "+k.Key)
		return json.Unmarshal([]byte(a.body), &b) == nil && b.Status == "completed"
	})
	retry := func(status int, want, idempotencyKey string) answer {
		t.Helper()
		a := g.ask(t, "POST", "/v1/batches/"+made+"/retry_failed", "", "Authorization", "Bearer "+k.Key, "Idempotency-Key", idempotencyKey)
		if a.status != status || !strings.Contains(a.body, want) {
			t.Errorf("retry: got %d %s, want %d and %q", a.status, a.body, status, want)
		}
		return a
	}
	first := retry(200, made, "key")
	retry(429, "batches_per_hour is 2", "")
	retry(429, "batches_per_hour is 2", "another key")
	if again := retry(200, made, "key"); again.body != first.body {
		t.Errorf("repeated: got %s, want %s", again.body, first.body)
	}
	if a, _ := g.keys(t, "admin-secret", "/"+k.ID+"/limits", `{"batches_per_hour":3}`); a.status != 200 {
		t.Fatalf("limits: %d %s", a.status, a.body)
	}
	if a := g.ask(t, "DELETE", "/v1/files/"+*b.ErrorFileID, "", "Authorization", "Bearer "+k.Key); a.status != 200 {
		t.Fatalf("error file: %d %s", a.status, a.body)
	}
	retry(409, *b.ErrorFileID, "")
	retry(409, *b.ErrorFileID, "")
	create := func(status int) {
		t.Helper()
		a := g.ask(t, "POST", "/v1/batches", `{"input_file_id":"`+b.InputFileID+`","endpoint":"/v1/chat/completions"}`, "Authorization", "Bearer "+k.Key, "Content-Type", "application/json")
		if a.status != status {
			t.Errorf("a new batch: got %d %s, want %d", a.status, a.body, status)
		}
	}
	create(200)
	create(429)
}
