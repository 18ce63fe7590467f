package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// spent stores usage of a key.
func (a *api) spent(tenant, key, class, model string, requests int64) {
	a.t.Helper()
	err := a.store.AddUsage(a.t.Context(), []batch.UsageRecord{{
		Tenant: tenant, KeyID: key, Class: class, Model: model, Endpoint: "/v1/chat/completions", Requests: requests, Failures: 1,
		Usage: openai.Usage{InputTokens: 10 * requests, OutputTokens: requests, TotalTokens: 11 * requests}, Cost: batch.Money(1_250_000_000 * requests), Unpriced: 2, Estimated: 3,
	}})
	if err != nil {
		a.t.Fatal(err)
	}
}

// usageAPI has usage of two keys of two tenants on two days.
func usageAPI(t *testing.T) *api {
	a := newAPI(t, upload.Limits{})
	a.engine.Apply(batch.Config{Prices: &batch.Prices{Currency: "EUR"}})
	c := a.setClock("2026-11-29T23:59:59Z")
	a.spent("team-a", "static/web", "live", "m", 1)
	c.pass(2 * time.Second)
	a.spent("team-a", "static/web", "batch", "=m", 2)
	a.spent("team-b", "static/other", "live", "m", 4)
	return a
}

// numbers are the members of a row with n requests from one call of spent, or from several.
func numbers(n, calls int64) string {
	return fmt.Sprintf(`"requests":%d,"failed_requests":%d,"input_tokens":%d,"cached_input_tokens":0,"output_tokens":%d,"total_tokens":%d,"cost":%s,"unpriced_requests":%d,"estimated_requests":%d`,
		n, calls, 10*n, n, 11*n, batch.Money(1_250_000_000*n), 2*calls, 3*calls)
}

func TestUsage(t *testing.T) {
	a := usageAPI(t)
	report := func(to, group, rows, total string) string {
		return `{"object":"usage","from":"2026-11-01","to":"` + to + `","group_by":[` + group + `],"currency":"EUR","data":[` + rows + `],"total":{` + total + `},"has_more":false}`
	}
	const today, yesterday = `{"day":"2026-11-30",`, `{"day":"2026-11-29",`
	for name, tt := range map[string]struct{ client, query, want string }{
		"by day":     {"team-a", "", report("2026-11-30", `"day"`, today+numbers(2, 1)+`},`+yesterday+numbers(1, 1)+`}`, numbers(3, 2))},
		"by key":     {"team-a", "group_by=key", report("2026-11-30", `"key"`, `{"key_id":"static/web","key_name":"",`+numbers(3, 2)+`}`, numbers(3, 2))},
		"by class":   {"team-a", "group_by=class", report("2026-11-30", `"class"`, `{"class":"batch",`+numbers(2, 1)+`},{"class":"live",`+numbers(1, 1)+`}`, numbers(3, 2))},
		"one day":    {"team-a", "to=2026-11-29", report("2026-11-29", `"day"`, yesterday+numbers(1, 1)+`}`, numbers(1, 1))},
		"one model":  {"team-a", "model=m", report("2026-11-30", `"day"`, yesterday+numbers(1, 1)+`}`, numbers(1, 1))},
		"a class":    {"team-a", "class=batch", report("2026-11-30", `"day"`, today+numbers(2, 1)+`}`, numbers(2, 1))},
		"other key":  {"team-a", "key=static/other", report("2026-11-30", `"day"`, "", numbers(0, 0))},
		"own tenant": {"team-b", "tenant=team-b", report("2026-11-30", `"day"`, today+numbers(4, 1)+`}`, numbers(4, 1))},
		"all tenants": {
			"admin", "group_by=model,tenant",
			report("2026-11-30", `"tenant","model"`, `{"tenant":"team-a","model":"=m",`+numbers(2, 1)+`},{"tenant":"team-a","model":"m",`+numbers(1, 1)+`},{"tenant":"team-b","model":"m",`+numbers(4, 1)+`}`, numbers(7, 3)),
		},
		"a tenant for the administrator": {"admin", "tenant=team-b&group_by=tenant", report("2026-11-30", `"tenant"`, `{"tenant":"team-b",`+numbers(4, 1)+`}`, numbers(4, 1))},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.request("GET", "/v1/usage?"+tt.query, "", tenantHeader, tt.client)
			if diff := cmp.Diff(tt.want, string(got.body)); diff != "" || got.StatusCode != http.StatusOK {
				t.Errorf("status %d, report (-want +got):\n%s", got.StatusCode, diff)
			}
		})
	}
}

func TestUsageAsCSV(t *testing.T) {
	a := usageAPI(t)
	want := strings.Join([]string{
		"day,model,requests,failed_requests,input_tokens,cached_input_tokens,output_tokens,total_tokens,cost,currency,unpriced_requests,estimated_requests",
		"2026-11-30,'=m,2,1,20,0,2,22,2.5,EUR,2,3", "2026-11-29,m,1,1,10,0,1,11,1.25,EUR,2,3", "",
	}, "\r\n")
	for name, tt := range map[string]struct {
		query, accept string
		csv           bool
	}{
		"parameter":          {"&format=csv", "", true},
		"parameter and JSON": {"&format=csv", "application/json", true},
		"header":             {"", "text/csv", true},
		"header with weight": {"", "text/html, text/csv;q=0.9", true},
		"JSON first":         {"", "application/json, text/csv", false},
		"JSON by parameter":  {"&format=json", "text/csv", false},
		"neither":            {"", "*/*", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.request("GET", "/v1/usage?group_by=day,model"+tt.query, "", tenantHeader, "team-a", "Accept", tt.accept)
			kind := got.Header.Get("Content-Type")
			if tt.csv != strings.HasPrefix(kind, "text/csv") || tt.csv && string(got.body) != want {
				t.Errorf("got %s: %q, want CSV %t: %q", kind, got.body, tt.csv, want)
			}
			if tt.csv && got.Header.Get("Content-Disposition") != `attachment; filename="usage-2026-11-01-2026-11-30.csv"` {
				t.Errorf("the name of the file is %s", got.Header.Get("Content-Disposition"))
			}
		})
	}
	if got := a.request("GET", "/v1/usage?group_by=key&limit=1&format=csv", "", tenantHeader, "admin"); got.Header.Get("X-Has-More") != "true" {
		t.Errorf("a short table does not say so: %v", got.Header)
	}
}

func TestUsageParameters(t *testing.T) {
	a := usageAPI(t)
	for query, want := range map[string]struct {
		status int
		param  string
	}{
		"group_by=":                     {400, "group_by"},
		"group_by=colour":               {400, "group_by"},
		"group_by=day,batch":            {400, "group_by"},
		"group_by=batch&model=m":        {400, "group_by"},
		"from=yesterday":                {400, "from"},
		"to=2026-13-01":                 {400, "to"},
		"from=2026-11-30&to=2026-11-29": {400, "to"},
		"class=flex":                    {400, "class"},
		"format=xml":                    {400, "format"},
		"limit=0":                       {400, "limit"},
		"limit=10001":                   {400, "limit"},
		"from=2026-11-01&from=x":        {400, "from"},
		"tenant=team-b":                 {403, ""},
		"tenant=*":                      {403, ""},
	} {
		got := a.request("GET", "/v1/usage?"+query, "", tenantHeader, "team-a")
		if e := got.envelope(t); got.StatusCode != want.status || e.param() != want.param {
			t.Errorf("%s: got %d with parameter %q: %s, want %d with %q", query, got.StatusCode, e.param(), got.body, want.status, want.param)
		}
	}
	if got := a.request("GET", "/v1/usage?tenant=*", "", tenantHeader, "admin"); got.StatusCode != 400 {
		t.Errorf("a tenant that cannot exist: got %d", got.StatusCode)
	}
}

// The cost of a batch is in its object, in the reports of BESH and in the report by batch.
func TestCostOfBatch(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	a.engine.Apply(batch.Config{Prices: &batch.Prices{Currency: "EUR"}})
	a.setClock("2026-11-29T02:22:07Z")
	made := a.createBatch()
	a.started(3)
	slices, err := a.store.ClaimSlices(t.Context(), batch.Claimant{Owner: "worker", Lease: time.Minute}, []batch.SliceRef{{BatchID: made.ID}})
	if err != nil || len(slices) != 1 {
		t.Fatalf("claiming slice: got %v, %v", slices, err)
	}
	write := batch.SegmentWrite{Claim: slices[0].SliceClaim}
	for i := range 2 {
		l := batch.LineResult{Index: i, Record: []byte("{}"), Model: "m", Usage: openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}}
		l.Charge = batch.Charge{Cost: 12_500_000, Unpriced: i == 1}
		write.Lines = append(write.Lines, l)
	}
	if _, err := a.store.CommitResults(t.Context(), []batch.SegmentWrite{write}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/v1/batches/" + made.ID:                  `"cost":{"value":0.025,"currency":"EUR","unpriced_requests":1}`,
		"/v1/batches":                             `"cost":{"value":0.025,"currency":"EUR","unpriced_requests":1}`,
		"/v1/batches/" + made.ID + "/token_usage": `"total_cost":0.025`,
		"/v1/dashboard":                           `"overall_token_usage":{"total_tokens":30,"prompt_tokens":20,"completion_tokens":10,"total_cost":0.025,`,
		"/v1/usage?group_by=batch": `"data":[{"batch_id":"` + made.ID + `","day":"2026-11-29","key_id":"","key_name":"","model":"m","requests":2,"failed_requests":0,` +
			`"input_tokens":20,"cached_input_tokens":0,"output_tokens":10,"total_tokens":30,"cost":0.025,"unpriced_requests":1,"estimated_requests":0}]`,
	} {
		if got := a.request("GET", path, ""); !strings.Contains(string(got.body), want) {
			t.Errorf("%s: got %s, want %s", path, got.body, want)
		}
	}
	if got := a.request("GET", "/v1/usage?group_by=batch", "", tenantHeader, "team-a"); strings.Contains(string(got.body), made.ID) {
		t.Errorf("another tenant sees the batch: %s", got.body)
	}
	if got := newAPI(t, upload.Limits{}); strings.Contains(string(got.request("GET", "/v1/batches/"+got.createBatch().ID, "").body), `"cost"`) {
		t.Error("a batch has a cost without prices")
	}
}

// identityOf is the client of a request in these tests.
func identityOf(tenant string) access.Identity {
	id := access.Identity{Tenant: tenant, Scopes: []access.Scope{access.Batch, access.Operate}}
	if tenant == "admin" {
		id.Scopes = []access.Scope{access.Admin}
	}
	return id
}
