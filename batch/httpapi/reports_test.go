package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// setClock has the store take its time from the clock. The clock of the process is another
// one.
func (a *api) setClock(at string) *clock {
	a.t.Helper()
	now, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &clock{now}
	a.now = func() time.Time { return c.now }
	return c
}

// started moves a batch to InProgress with one slice of lines.
func (a *api) started(lines int) {
	a.t.Helper()
	plan := batch.Plan{Model: "m", Lines: lines, Slices: []batch.SlicePlan{{Length: 1, Lines: lines}}}
	if err := a.store.StartBatch(a.t.Context(), a.claim(), plan); err != nil {
		a.t.Fatal(err)
	}
}

// answered stores the results of the first lines of a batch, the last of them
// failed. A line that did not fail used 10 tokens and made 5.
func (a *api) answered(id string, lines, failed int) {
	a.t.Helper()
	slices, err := a.store.ClaimSlices(a.t.Context(), batch.Claimant{Owner: "worker", Lease: time.Minute}, []batch.SliceRef{{BatchID: id}})
	if err != nil || len(slices) != 1 {
		a.t.Fatalf("claiming slice: got %v, %v", slices, err)
	}
	write := batch.SegmentWrite{Claim: slices[0].SliceClaim}
	for i := range lines {
		l := batch.LineResult{Index: i, Record: []byte("{}"), Model: "m", Failed: i >= lines-failed}
		if !l.Failed {
			l.Usage = openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}
		}
		write.Lines = append(write.Lines, l)
	}
	stale, err := a.store.CommitResults(a.t.Context(), []batch.SegmentWrite{write})
	if err != nil || len(stale) > 0 {
		a.t.Fatalf("committing results: got stale claims %v, %v", stale, err)
	}
}

// ended moves a batch to its terminal state, without files.
func (a *api) ended() {
	a.t.Helper()
	if err := a.store.FinishBatch(a.t.Context(), a.claim(), batch.Outcome{}); err != nil {
		a.t.Fatal(err)
	}
}

// A report has exactly these members, of these types, at the routes of both
// generations of BESH.
func TestReports(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	c := a.setClock("2026-11-29T02:22:07.123456Z")
	done := a.createBatch()
	c.pass(1500 * time.Millisecond)
	a.started(4)
	c.pass(90 * time.Second)
	a.answered(done.ID, 4, 1)
	c.pass(250 * time.Millisecond)
	a.ended()
	c.pass(10 * time.Minute)
	running := a.createBatch()
	a.started(3)
	a.answered(running.ID, 2, 0)
	c.pass(time.Second)
	waiting := a.createBatch()

	var quarters []string // 00:00 UTC of the day before is not among them: 02:45 is the end
	for at := time.Date(2026, 11, 28, 2, 45, 0, 0, time.UTC); at.Before(time.Date(2026, 11, 29, 2, 45, 0, 0, time.UTC)); at = at.Add(15 * time.Minute) {
		quarters = append(quarters, at.Format("2006-01-02T15:04:05.000000"))
	}
	const period = `"time_range":{"start":"2026-11-28T02:45:00.000000","end":"2026-11-29T02:45:00.000000"}`
	// steps joins the members that the steps of a timeline have, by when they begin.
	steps := func(none string, some map[string]string) string {
		var all []string
		for _, at := range quarters {
			members := none
			if other, ok := some[at[11:16]]; ok {
				members = other
			}
			all = append(all, fmt.Sprintf(`{"timestamp":%q,%s,"label":%q}`, at, members, at[11:16]))
		}
		return strings.Join(all, ",")
	}
	dashboard := func(limit int) string {
		return `{"object":"dashboard","batches":[` +
			`{"id":"` + waiting.ID + `","status":"validating","endpoint":"/v1/chat/completions","created_at":"2026-11-29T02:33:39.873456","completed_at":null,` +
			`"duration_seconds":null,"request_counts":{"total":0,"completed":0,"failed":0},"error_rate_percentage":0,` +
			`"token_usage":{"total_tokens":0,"prompt_tokens":0,"completion_tokens":0,"total_cost":0,"request_count":0}},` +
			`{"id":"` + running.ID + `","status":"in_progress","endpoint":"/v1/chat/completions","created_at":"2026-11-29T02:33:38.873456","completed_at":null,` +
			`"duration_seconds":null,"request_counts":{"total":3,"completed":2,"failed":0},"error_rate_percentage":0,` +
			`"token_usage":{"total_tokens":30,"prompt_tokens":20,"completion_tokens":10,"total_cost":0,"request_count":2}},` +
			`{"id":"` + done.ID + `","status":"completed","endpoint":"/v1/chat/completions","created_at":"2026-11-29T02:22:07.123456","completed_at":"2026-11-29T02:23:38.873456",` +
			`"duration_seconds":90.25,"request_counts":{"total":4,"completed":3,"failed":1},"error_rate_percentage":25,` +
			`"token_usage":{"total_tokens":45,"prompt_tokens":30,"completion_tokens":15,"total_cost":0,"request_count":4}}],` +
			`"summary":{"total_batches":3,"batches_by_status":{"completed":1,"in_progress":1,"validating":1},"overall_error_rate_percentage":14.29,` +
			`"total_tokens":75,"prompt_tokens":50,"completion_tokens":25,"total_cost":0,"total_requests":7,"total_request_completed":5,` +
			`"overall_token_usage":{"total_tokens":75,"prompt_tokens":50,"completion_tokens":25,"total_cost":0,"total_requests":7}},` +
			fmt.Sprintf(`"pagination":{"page":1,"limit":%d,"total_batches":3,"has_more":false,"next_page":null,"prev_page":null}}`, limit)
	}
	timeline := `{"object":"batch_timeline","intervals":[` + steps(`"count":0`, map[string]string{"02:15": `"count":1`, "02:30": `"count":2`}) +
		`],"summary":{"total_batches":3,"avg_per_interval":0.03,"max_in_interval":2,` + period + `}}`
	tokens := `{"object":"token_timeline","intervals":[` + steps(
		`"input_tokens":0,"output_tokens":0,"total_tokens":0,"request_completed":0,"duration_seconds":0,"avg_duration_seconds":0,"batch_count":0`,
		map[string]string{
			"02:15": `"input_tokens":30,"output_tokens":15,"total_tokens":45,"request_completed":3,"duration_seconds":90.25,"avg_duration_seconds":90.25,"batch_count":1`,
			"02:30": `"input_tokens":20,"output_tokens":10,"total_tokens":30,"request_completed":2,"duration_seconds":0,"avg_duration_seconds":0,"batch_count":0`,
		}) + `],"summary":{"total_input_tokens":50,"total_output_tokens":25,"total_tokens":75,"total_duration_seconds":90.25,"avg_duration_seconds":90.25,` +
		`"total_batches":1,"total_request_completed":5,"avg_per_interval":0.78,"peak_interval":45,` + period + `}}`
	const status = `{"redis_status":"connected","queue_length":1,"total_batches_in_db":3,"active_batches_in_db":2,` +
		`"active_batches":1,"queued_batches":1,"max_workers":256,"max_concurrent_batches":10}`
	for path, want := range map[string]string{
		"/v1/batches/status":                         status,
		"/v1/dashboard":                              dashboard(10),
		"/v1/dashboard?page=1&limit=50":              dashboard(50),
		"/v1/dashboard?limit=100":                    dashboard(50),
		"/v1/batches/dashboard":                      dashboard(20),
		"/v1/batches/dashboard?limit=100":            dashboard(100),
		"/v1/batches/dashboard?limit=101":            dashboard(100),
		"/v1/analytics/timeline":                     timeline,
		"/v1/batches/analytics/timeline":             timeline,
		"/v1/analytics/tokens":                       tokens,
		"/v1/batches/analytics/tokens":               tokens,
		"/v1/batches/" + done.ID + "/token_usage":    `{"batch_id":"` + done.ID + `","total_tokens":45,"prompt_tokens":30,"completion_tokens":15,"total_cost":0,"request_count":4}`,
		"/v1/batches/" + waiting.ID + "/token_usage": `{"batch_id":"` + waiting.ID + `","total_tokens":0,"prompt_tokens":0,"completion_tokens":0,"total_cost":0,"request_count":0}`,
	} {
		r := a.request("GET", path, "")
		if diff := cmp.Diff(want, string(r.body)); r.StatusCode != 200 || diff != "" {
			t.Errorf("GET %s: got %d (-want +got):\n%s", path, r.StatusCode, diff)
		}
	}

	const none = `{"redis_status":"connected","queue_length":0,"total_batches_in_db":0,"active_batches_in_db":0,` +
		`"active_batches":0,"queued_batches":0,"max_workers":256,"max_concurrent_batches":10}`
	if r := a.request("GET", "/v1/batches/status", "", tenantHeader, "other"); string(r.body) != none {
		t.Errorf("status of another tenant: got %s, want %s", r.body, none)
	}
	a.store.fail["PingQueue"] = errors.New("dial tcp: connection refused")
	want := strings.Replace(status, "connected", "error: dial tcp: connection refused", 1)
	if r := a.request("GET", "/v1/batches/status", ""); string(r.body) != want {
		t.Errorf("status without a queue: got %s, want %s", r.body, want)
	}
}

// Every report is about the batches that are there: after a batch is deleted none counts
// it, and the tokens of all reports are the same.
func TestReportsAfterDeletions(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	c := a.setClock("2026-11-29T02:22:07Z")
	var ids []string
	for range 3 {
		b := a.createBatch()
		a.started(4)
		a.answered(b.ID, 4, 1)
		c.pass(time.Minute)
		a.ended()
		ids = append(ids, b.ID)
	}
	cancelled := a.createBatch()
	a.started(4)
	a.answered(cancelled.ID, 2, 0)
	decode[openai.Batch](t, a.request("POST", "/v1/batches/"+cancelled.ID+"/cancel", ""))
	a.ended()
	c.pass(15 * time.Minute)
	running := a.createBatch()
	a.started(4)
	a.answered(running.ID, 1, 0)

	type report struct {
		Total   int64 `json:"total_batches_in_db"`
		Summary struct {
			Batches   int64   `json:"total_batches"`
			Tokens    int64   `json:"total_tokens"`
			Completed int64   `json:"total_request_completed"`
			Seconds   float64 `json:"total_duration_seconds"`
		}
	}
	want := func(when string, batches, completed, tokens, requests int64) {
		t.Helper()
		get := func(path string) report { return decode[report](t, a.request("GET", path, "")) }
		if got := get("/v1/batches/status").Total; got != batches {
			t.Errorf("%s: status counts %d batches, want %d", when, got, batches)
		}
		if got := get("/v1/dashboard").Summary; got.Batches != batches || got.Tokens != tokens || got.Completed != requests {
			t.Errorf("%s: dashboard has %+v, want %d batches with %d tokens and %d requests", when, got, batches, tokens, requests)
		}
		if got := get("/v1/analytics/timeline").Summary.Batches; got != batches {
			t.Errorf("%s: timeline counts %d batches, want %d", when, got, batches)
		}
		if got := get("/v1/analytics/tokens").Summary; got.Batches != completed || got.Tokens != tokens || got.Completed != requests || got.Seconds != float64(60*completed) {
			t.Errorf("%s: tokens has %+v, want %d batches with %d tokens and %d requests", when, got, completed, tokens, requests)
		}
	}
	want("before", 5, 3, 3*45+30+15, 3*3+2+1)
	for _, id := range ids[:2] {
		if r := a.request("DELETE", "/v1/batches/"+id, ""); r.StatusCode != 200 {
			t.Fatalf("deleting: %d %s", r.StatusCode, r.body)
		}
	}
	want("after the first deletions", 3, 1, 45+30+15, 3+2+1)
	for _, id := range []string{ids[2], cancelled.ID, running.ID} {
		if r := a.request("DELETE", "/v1/batches/"+id, ""); r.StatusCode != 200 {
			t.Fatalf("deleting: %d %s", r.StatusCode, r.body)
		}
	}
	want("after the last deletion", 0, 0, 0, 0)
}

// The period of a report is of the store's clock, as the times of batches are. A batch that
// ends after the period, because the clock passed its end since it was read, is in the last
// interval.
func TestReportsByTheStoresClock(t *testing.T) {
	type report struct {
		Intervals []struct {
			Count    int64 `json:"count"`
			Tokens   int64 `json:"total_tokens"`
			Finished int64 `json:"batch_count"`
		}
		Batches []struct{ ID string }
		Summary struct {
			TimeRange struct{ End string } `json:"time_range"`
		}
	}
	for _, ahead := range []time.Duration{-48 * time.Hour, -20 * time.Minute, 0, 20 * time.Minute, 48 * time.Hour} {
		a := newAPI(t, upload.Limits{})
		// The clock of the store is in the middle of an interval, so that the others are
		// not passed while the test runs.
		c := a.setClock(time.Now().Add(ahead).UTC().Truncate(15 * time.Minute).Add(7 * time.Minute).Format(time.RFC3339))
		end := c.now.Add(8 * time.Minute).Format("2006-01-02T15:04:05.000000")
		b := a.createBatch()
		a.started(4)
		a.answered(b.ID, 4, 1)
		a.ended()
		last := func(path string) (count, tokens, finished int64) {
			t.Helper()
			r := decode[report](t, a.request("GET", path, ""))
			if got := r.Summary.TimeRange.End; got != end {
				t.Errorf("%s with the store %s ahead: got a period up to %s, want %s", path, ahead, got, end)
			}
			i := r.Intervals[len(r.Intervals)-1]
			return i.Count, i.Tokens, i.Finished
		}
		if created, _, _ := last("/v1/analytics/timeline"); created != 1 {
			t.Errorf("timeline with the store %s ahead: got %d batches in the last interval, want 1", ahead, created)
		}
		if _, tokens, finished := last("/v1/analytics/tokens"); tokens != 45 || finished != 1 {
			t.Errorf("tokens with the store %s ahead: got %d tokens of %d batches in the last interval, want 45 of 1", ahead, tokens, finished)
		}
		if got := decode[report](t, a.request("GET", "/v1/dashboard", "")).Batches; len(got) != 1 {
			t.Errorf("dashboard with the store %s ahead: got %v, want %s", ahead, got, b.ID)
		}

		passing := func() { // the next interval begins, in which another batch ends
			c.pass(10 * time.Minute)
			b := a.createBatch()
			a.started(4)
			a.answered(b.ID, 4, 0)
			a.ended()
		}
		a.store.meanwhile = passing
		if created, _, _ := last("/v1/analytics/timeline"); created != 2 {
			t.Errorf("timeline with a batch after the period: got %d batches in the last interval, want 2", created)
		}
		c.pass(-10 * time.Minute)
		a.store.meanwhile = passing
		if _, tokens, finished := last("/v1/analytics/tokens"); tokens != 45+60+60 || finished != 3 {
			t.Errorf("tokens with batches after the period: got %d tokens of %d batches in the last interval, want 165 of 3", tokens, finished)
		}
	}
}

// Batches that wait are queued, and those beyond max_concurrent_batches.
func TestStatusReport(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for range 3 {
		a.createBatch()
	}
	cancelled := a.createBatch()
	decode[openai.Batch](t, a.request("POST", "/v1/batches/"+cancelled.ID+"/cancel", ""))
	r := a.request("GET", "/v1/batches/status", "")
	const want = `{"redis_status":"connected","queue_length":3,"total_batches_in_db":4,"active_batches_in_db":4,"active_batches":1,"queued_batches":3,"max_workers":256,"max_concurrent_batches":10}`
	if r.StatusCode != 200 || string(r.body) != want {
		t.Errorf("got %d %s, want %s", r.StatusCode, r.body, want)
	}
}

func TestDashboardPages(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	var ids []string
	for range 5 {
		ids = append([]string{a.createBatch().ID}, ids...)
	}
	type report struct {
		Batches    []struct{ ID string }
		Pagination json.RawMessage
	}
	for _, path := range []string{"/v1/dashboard", "/v1/batches/dashboard"} {
		var got []string
		for page, pagination := range []string{
			`{"page":1,"limit":2,"total_batches":5,"has_more":true,"next_page":2,"prev_page":null}`,
			`{"page":2,"limit":2,"total_batches":5,"has_more":true,"next_page":3,"prev_page":1}`,
			`{"page":3,"limit":2,"total_batches":5,"has_more":false,"next_page":null,"prev_page":2}`,
			`{"page":4,"limit":2,"total_batches":5,"has_more":false,"next_page":null,"prev_page":3}`,
		} {
			r := decode[report](t, a.request("GET", fmt.Sprintf("%s?limit=2&page=%d", path, page+1), ""))
			if string(r.Pagination) != pagination {
				t.Errorf("%s, page %d: got %s, want %s", path, page+1, r.Pagination, pagination)
			}
			for _, b := range r.Batches {
				got = append(got, b.ID)
			}
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%s: got batches %v, want %v", path, got, ids)
		}
		for _, q := range []string{"page=0", "page=x", "limit=0", "limit=x"} {
			if r := a.request("GET", path+"?"+q, ""); r.StatusCode != 400 {
				t.Errorf("%s?%s: got %d, want 400", path, q, r.StatusCode)
			}
		}
	}
}

// TestReportsOfNothing checks that a report without batches has arrays and numbers instead
// of null, and that it excludes batches of the previous day.
func TestReportsOfNothing(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	c := a.setClock("2026-11-29T02:22:07Z")
	a.createBatch()
	c.pass(24*time.Hour + time.Second)
	const want = `{"object":"dashboard","batches":[],"summary":{"total_batches":0,"batches_by_status":{},"overall_error_rate_percentage":0,` +
		`"total_tokens":0,"prompt_tokens":0,"completion_tokens":0,"total_cost":0,"total_requests":0,"total_request_completed":0,` +
		`"overall_token_usage":{"total_tokens":0,"prompt_tokens":0,"completion_tokens":0,"total_cost":0,"total_requests":0}},` +
		`"pagination":{"page":1,"limit":10,"total_batches":0,"has_more":false,"next_page":null,"prev_page":null}}`
	if r := a.request("GET", "/v1/dashboard", ""); string(r.body) != want {
		t.Errorf("got %s, want %s", r.body, want)
	}
}

// Tokens of live requests are in no report.
func TestReportsWithoutLive(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	usage := batch.UsageRecord{Tenant: batch.DefaultTenant, Class: "live", Model: "m", Endpoint: "/e", Requests: 1, Usage: openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}}
	if err := a.store.AddUsage(t.Context(), []batch.UsageRecord{usage}); err != nil {
		t.Fatal(err)
	}
	r := decode[struct {
		Summary struct {
			Tokens   int64 `json:"total_tokens"`
			Requests int64 `json:"total_request_completed"`
		}
	}](t, a.request("GET", "/v1/analytics/tokens", ""))
	if r.Summary.Tokens != 0 || r.Summary.Requests != 0 {
		t.Errorf("got %+v, want 0", r.Summary)
	}
}

func TestEstimateAndLines(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	b := a.createBatch()
	path := "/v1/batches/" + b.ID
	var got struct {
		ID       string
		Estimate json.RawMessage
	}
	if err := json.Unmarshal(a.request("GET", path+"?estimate=1", "").body, &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != b.ID || string(got.Estimate) != `{"lines_per_minute":null,"remaining_seconds":null,"finishes_at":null,"misses_deadline":null}` {
		t.Errorf("%+v, %s", got, got.Estimate)
	}
	if r := a.request("GET", path+"/results", ""); string(r.body) != `{"object":"list","data":[],"has_more":false,"after":0}` {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	for _, q := range []string{"limit=0", "limit=1001", "after=-1", "after=x", "status=running"} {
		if r := a.request("GET", path+"/results?"+q, ""); r.StatusCode != 400 {
			t.Errorf("%s: %d %s", q, r.StatusCode, r.body)
		}
	}
	for _, n := range []string{"0", "1", "-1", "x", "99999999999999999999"} {
		refused{404, "line", "", fmt.Sprintf("Batch '%s' has no line '%s'.", b.ID, n)}.check(t, a.request("GET", path+"/lines/"+n, ""))
	}
	refused{404, "", "", "No batch found"}.check(t, a.request("GET", "/v1/batches/batch_unknown/lines/1", ""))
	refused{404, "", "", "No batch found"}.check(t, a.request("GET", path+"/results", "", tenantHeader, "other"))
}
