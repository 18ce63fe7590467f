package httpapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// keysOf are the names of an object's members.
func keysOf(t *testing.T, raw json.RawMessage) []string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestStatusReport(t *testing.T) {
	a := newAPI(t, batch.FileLimits{})
	for range 3 {
		a.createBatch()
	}
	cancelled := a.createBatch()
	decode[openai.Batch](t, a.request("POST", "/v1/batches/"+cancelled.ID+"/cancel", ""))
	r := a.request("GET", "/v1/batches/status", "")
	const want = `{"active_batches":1,"queued_batches":3,"max_workers":256,"max_concurrent_batches":10,"total_batches_in_db":4,"active_batches_in_db":4}`
	if r.StatusCode != 200 || string(r.body) != want {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := a.request("GET", "/v1/batches/status", "", tenantHeader, "other"); string(r.body) != `{"active_batches":0,"queued_batches":0,"max_workers":256,"max_concurrent_batches":10,"total_batches_in_db":0,"active_batches_in_db":0}` {
		t.Errorf("another tenant's: %s", r.body)
	}
}

func TestDashboardReport(t *testing.T) {
	a := newAPI(t, batch.FileLimits{})
	var ids []string
	for range 5 {
		ids = append([]string{a.createBatch().ID}, ids...)
	}
	type report struct {
		Object  string
		Batches []struct {
			ID     string
			Status string
		}
		Summary struct {
			TotalBatches    int            `json:"total_batches"`
			BatchesByStatus map[string]int `json:"batches_by_status"`
		}
		Pagination json.RawMessage
	}
	var got []string
	for page, pagination := range []string{
		`{"page":1,"limit":2,"total_batches":5,"has_more":true,"next_page":2,"prev_page":null}`,
		`{"page":2,"limit":2,"total_batches":5,"has_more":true,"next_page":3,"prev_page":1}`,
		`{"page":3,"limit":2,"total_batches":5,"has_more":false,"next_page":null,"prev_page":2}`,
		`{"page":4,"limit":2,"total_batches":5,"has_more":false,"next_page":null,"prev_page":3}`,
	} {
		r := decode[report](t, a.request("GET", fmt.Sprintf("/v1/batches/dashboard?limit=2&page=%d", page+1), ""))
		if r.Object != "dashboard" || r.Summary.TotalBatches != 5 || r.Summary.BatchesByStatus["validating"] != 5 || string(r.Pagination) != pagination {
			t.Errorf("page %d: %+v, %s", page+1, r, r.Pagination)
		}
		for _, b := range r.Batches {
			got = append(got, b.ID)
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("batches %v, want %v", got, ids)
	}
	var whole struct {
		Batches []json.RawMessage
		Summary json.RawMessage
	}
	if err := json.Unmarshal(a.request("GET", "/v1/batches/dashboard", "").body, &whole); err != nil {
		t.Fatal(err)
	}
	if got, want := keysOf(t, whole.Batches[0]), []string{"completed_at", "created_at", "duration_seconds", "endpoint", "error_rate_percentage", "id", "request_counts", "status", "token_usage"}; !slices.Equal(got, want) {
		t.Errorf("a batch has %v", got)
	}
	if got, want := keysOf(t, whole.Summary), []string{"batches_by_status", "overall_error_rate_percentage", "overall_token_usage", "total_batches"}; !slices.Equal(got, want) {
		t.Errorf("the summary has %v", got)
	}
	for _, q := range []string{"page=0", "page=x", "limit=0", "limit=101"} {
		if r := a.request("GET", "/v1/batches/dashboard?"+q, ""); r.StatusCode != 400 {
			t.Errorf("%s: %d", q, r.StatusCode)
		}
	}
}

func TestTimelineReports(t *testing.T) {
	a := newAPI(t, batch.FileLimits{})
	const n = 3
	for range n {
		a.createBatch()
	}
	usage := batch.UsageRecord{Tenant: batch.DefaultTenant, Class: "batch", Model: "m", Endpoint: "/e", Requests: 1, Usage: openai.Usage{InputTokens: 10, OutputTokens: 5, TotalTokens: 15}}
	live := usage
	live.Class = "live"
	if err := a.store.AddUsage(t.Context(), []batch.UsageRecord{usage, live}); err != nil {
		t.Fatal(err)
	}
	type report struct {
		Object    string
		Intervals []struct {
			Timestamp, Count int64
			InputTokens      int64 `json:"input_tokens"`
			OutputTokens     int64 `json:"output_tokens"`
			TotalTokens      int64 `json:"total_tokens"`
			Label            string
		}
		Summary map[string]any
	}
	for name, object := range map[string]string{"timeline": "batch_timeline", "tokens": "token_timeline"} {
		r := decode[report](t, a.request("GET", "/v1/batches/analytics/"+name, ""))
		if r.Object != object || len(r.Intervals) != 96 || r.Summary["time_range"] != "24 hours" {
			t.Fatalf("%s: %+v", name, r)
		}
		var count, in, out, total int64
		for i, at := range r.Intervals {
			if i > 0 && at.Timestamp != r.Intervals[i-1].Timestamp+900 || at.Timestamp%900 != 0 || len(at.Label) != 5 {
				t.Fatalf("%s: interval %d is %+v", name, i, at)
			}
			count += at.Count
			in += at.InputTokens
			out += at.OutputTokens
			total += at.TotalTokens
		}
		if name == "timeline" && (count != n || r.Summary["total_batches"] != float64(n)) {
			t.Errorf("%d batches, %+v", count, r.Summary)
		}
		if name == "tokens" && (in != 10 || out != 5 || total != 15 || r.Summary["total_tokens"] != float64(15)) {
			t.Errorf("%d, %d, %d, %+v", in, out, total, r.Summary)
		}
	}
	b := a.createBatch()
	r := a.request("GET", "/v1/batches/"+b.ID+"/token_usage", "")
	if want := fmt.Sprintf(`{"batch_id":%q,"total_tokens":0,"prompt_tokens":0,"completion_tokens":0,"total_cost":0,"request_count":0}`, b.ID); string(r.body) != want {
		t.Errorf("%s", r.body)
	}
}

func TestEstimateAndLines(t *testing.T) {
	a := newAPI(t, batch.FileLimits{})
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
