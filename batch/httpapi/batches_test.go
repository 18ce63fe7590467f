package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

const create = `{"input_file_id":"file-abc","endpoint":"/v1/chat/completions","completion_window":"24h"}`

func (a *api) createBatch(headers ...string) openai.Batch {
	a.t.Helper()
	return decode[openai.Batch](a.t, a.json("POST", "/v1/batches", create, headers...))
}

func TestBatchObject(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	r := a.json("POST", "/v1/batches", `{"input_file_id":"file-abc","endpoint":"/v1/embeddings","completion_window":"90m",
		"metadata":{"k":"v","ü":""},"output_expires_after":{"anchor":"created_at","seconds":3600},"unknown":{"a":[1]}}`)
	b := decode[openai.Batch](t, r)
	expires := b.CreatedAt + 90*60
	want := openai.Batch{
		ID: b.ID, Object: "batch", Endpoint: "/v1/embeddings", InputFileID: "file-abc", CompletionWindow: "90m", Status: "validating",
		CreatedAt: b.CreatedAt, ExpiresAt: &expires, Metadata: map[string]string{"k": "v", "ü": ""},
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("batch (-want +got):\n%s", diff)
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{
		"model", "errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at", "completed_at",
		"failed_at", "expired_at", "cancelling_at", "cancelled_at",
	} {
		if string(keys[key]) != "null" {
			t.Errorf("%s is %s, not null", key, keys[key])
		}
	}
	for _, key := range []string{"request_total", "request_completed", "request_failed", "prompt_tokens", "completion_tokens", "total_tokens"} {
		if string(keys[key]) != "0" {
			t.Errorf("%s is %s, not 0", key, keys[key])
		}
	}
	if got := string(keys["request_counts"]); got != `{"total":0,"completed":0,"failed":0}` {
		t.Errorf("request_counts are %s", got)
	}
	const usage = `{"input_tokens":0,"input_tokens_details":{"cached_tokens":0},"output_tokens":0,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":0}`
	if got := string(keys["usage"]); got != usage {
		t.Errorf("usage is %s", got)
	}
	if id, ok := strings.CutPrefix(b.ID, "batch_"); !ok || len(id) != 32 {
		t.Errorf("id is %s", b.ID)
	}
	if diff := cmp.Diff(b, decode[openai.Batch](t, a.request("GET", "/v1/batches/"+b.ID, ""))); diff != "" {
		t.Errorf("batch read again (-want +got):\n%s", diff)
	}
	refused{404, "", "", "No batch found with id '" + b.ID + "'."}.check(t, a.request("GET", "/v1/batches/"+b.ID, "", tenantHeader, "other"))
}

func TestAcceptedBatches(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for _, endpoint := range openai.BatchEndpoints {
		decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, "/v1/chat/completions", endpoint, 1)))
	}
	for window, seconds := range map[string]int64{"24h": 86400, "1m": 60, "720h": 2592000, "1h30m": 5400, "60s": 60} {
		b := decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, "24h", window, 1)))
		if b.CompletionWindow != window || *b.ExpiresAt-b.CreatedAt != seconds {
			t.Errorf("window %s: got %s, %d s", window, b.CompletionWindow, *b.ExpiresAt-b.CreatedAt)
		}
	}
	for name, body := range map[string]string{
		"no window":      strings.Replace(create, `,"completion_window":"24h"`, "", 1),
		"empty window":   strings.Replace(create, "24h", "", 1),
		"window is null": strings.Replace(create, `"24h"`, "null", 1),
	} {
		b := decode[openai.Batch](t, a.json("POST", "/v1/batches", body))
		if b.CompletionWindow != "24h" || *b.ExpiresAt-b.CreatedAt != 86400 {
			t.Errorf("%s: got window %q, %d s, want 24h, 86400 s", name, b.CompletionWindow, *b.ExpiresAt-b.CreatedAt)
		}
	}
	full := make([]string, 16)
	for i := range full {
		full[i] = fmt.Sprintf("%q:%q", strings.Repeat("ä", 62)+fmt.Sprintf("%02d", i), strings.Repeat("ö", 512))
	}
	for name, extra := range map[string]string{
		"no metadata": `"metadata":null`, "empty metadata": `"metadata":{}`, "full metadata": `"metadata":{` + strings.Join(full, ",") + `}`,
		"no expiry": `"output_expires_after":null`,
	} {
		if r := a.json("POST", "/v1/batches", strings.Replace(create, "{", "{"+extra+",", 1)); r.StatusCode != 200 {
			t.Errorf("%s: %s", name, r.body)
		}
	}
	for _, contentType := range []string{"", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json"} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", a.server.URL+"/v1/batches", strings.NewReader(create))
		if err != nil {
			t.Fatal(err)
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if got := a.send(r); got.StatusCode != 200 {
			t.Errorf("as %q: %s", contentType, got.body)
		}
	}
}

func TestRefusedBatches(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	with := func(from, to string) string { return strings.Replace(create, from, to, 1) }
	plus := func(member string) string { return with("{", "{"+member+",") }
	missing := func(name string) refused {
		return refused{400, name, "missing_required_parameter", "Missing required parameter: '" + name + "'."}
	}
	const unparsed = "We could not parse the JSON body of your request."
	pairs := make([]string, 17)
	for i := range pairs {
		pairs[i] = fmt.Sprintf(`"k%d":""`, i)
	}
	for _, c := range []struct {
		name, body string
		want       refused
	}{
		{"nothing", "", refused{400, "", "", unparsed}},
		{"not JSON", "hello", refused{400, "", "", unparsed}},
		{"half an object", create[:40], refused{400, "", "", unparsed}},
		{"two objects", create + create, refused{400, "", "", unparsed}},
		{"trailing comma", with("}", ",}"), refused{400, "", "", unparsed}},
		{"invalid UTF-8", with("abc", "\xff"), refused{400, "", "", unparsed}},
		{"a key twice", plus(`"endpoint":"/v1/embeddings"`), refused{400, "", "", unparsed}},
		{"depth bomb", strings.Repeat("[", 500_000), refused{400, "", "", unparsed}},
		{"depth bomb in a member", plus(`"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), refused{400, "", "", unparsed}},
		{"an array", "[]", refused{400, "", "invalid_type", "Invalid type for the body: expected an object, but got an array instead."}},
		{"null", "null", refused{400, "", "invalid_type", ""}},
		{"a string", `"x"`, refused{400, "", "invalid_type", ""}},
		{"over 1 MiB", plus(`"x":"` + strings.Repeat("x", 1<<20) + `"`), refused{413, "", "", "The body of the request is larger than the limit of 1048576 bytes."}},
		{"empty object", "{}", missing("input_file_id")},
		{"no file", with(`"input_file_id":"file-abc",`, ""), missing("input_file_id")},
		{"file is null", with(`"file-abc"`, "null"), missing("input_file_id")},
		{"file is empty", with(`"file-abc"`, `""`), missing("input_file_id")},
		{"file is a number", with(`"file-abc"`, "1"), refused{400, "input_file_id", "invalid_type", "Invalid type for 'input_file_id': expected a string, but got an integer instead."}},
		{"file is long", with("file-abc", strings.Repeat("x", 513)), refused{400, "input_file_id", "string_above_max_length", ""}},
		{"file with NUL", with("file-abc", `\u0000`), refused{400, "input_file_id", "invalid_value", ""}},
		{"no endpoint", with(`"endpoint":"/v1/chat/completions",`, ""), missing("endpoint")},
		{"endpoint is an object", with(`"/v1/chat/completions"`, "{}"), refused{400, "endpoint", "invalid_type", "Invalid type for 'endpoint': expected a string, but got an object instead."}},
		{"unknown endpoint", with("/v1/chat/completions", "/v1/x"), refused{400, "endpoint", "invalid_value", "Invalid value: '/v1/x'. Supported values are: '/v1/chat/completions', '/v1/completions', '/v1/embeddings', '/v1/responses', '/v1/moderations', "}},
		{"absolute endpoint", with("/v1/chat/completions", "http://evil/v1/chat/completions"), refused{400, "endpoint", "invalid_value", ""}},
		{"traversing endpoint", with("/v1/chat/completions", "/v1/../v1/chat/completions"), refused{400, "endpoint", "invalid_value", ""}},
		{"endpoint with a slash", with("completions", "completions/"), refused{400, "endpoint", "invalid_value", ""}},
		{"window is a number", with(`"24h"`, "24"), refused{400, "completion_window", "invalid_type", ""}},
		{"window is no duration", with("24h", "1 day"), refused{400, "completion_window", "invalid_value", "Invalid value: '1 day'. Supported values are: '24h'"}},
		{"short window", with("24h", "59s"), refused{400, "completion_window", "invalid_value", ""}},
		{"long window", with("24h", "720h1ns"), refused{400, "completion_window", "invalid_value", ""}},
		{"negative window", with("24h", "-24h"), refused{400, "completion_window", "invalid_value", ""}},
		{"window beyond numbers", with("24h", "99999999999h"), refused{400, "completion_window", "invalid_value", ""}},
		{"metadata is text", plus(`"metadata":"x"`), refused{400, "metadata", "invalid_type", "Invalid type for 'metadata': expected an object, but got a string instead."}},
		{"metadata is a list", plus(`"metadata":[]`), refused{400, "metadata", "invalid_type", ""}},
		{"metadata with a list", plus(`"metadata":{"K":["a"]}`), refused{400, "metadata.K", "invalid_type", "Invalid type for 'metadata.K': expected a string, but got an array instead."}},
		{"metadata with a number", plus(`"metadata":{"K":1.5}`), refused{400, "metadata.K", "invalid_type", "Invalid type for 'metadata.K': expected a string, but got a decimal instead."}},
		{"metadata with a boolean", plus(`"metadata":{"K":true}`), refused{400, "metadata.K", "invalid_type", ""}},
		{"metadata with null", plus(`"metadata":{"K":null}`), refused{400, "metadata.K", "invalid_type", "Invalid type for 'metadata.K': expected a string, but got null instead."}},
		{"much metadata", plus(`"metadata":{` + strings.Join(pairs, ",") + `}`), refused{400, "metadata", "object_above_max_properties", ""}},
		{"long key", plus(`"metadata":{"` + strings.Repeat("ä", 65) + `":""}`), refused{400, "metadata", "string_above_max_length", ""}},
		{"long value", plus(`"metadata":{"k":"` + strings.Repeat("ä", 513) + `"}`), refused{400, "metadata.k", "string_above_max_length", ""}},
		{"NUL in a key", plus(`"metadata":{"\u0000":""}`), refused{400, "metadata", "invalid_value", ""}},
		{"NUL in a value", plus(`"metadata":{"k":"\u0000"}`), refused{400, "metadata.k", "invalid_value", ""}},
		{"expiry is a number", plus(`"output_expires_after":3600`), refused{400, "output_expires_after", "invalid_type", ""}},
		{"expiry is empty", plus(`"output_expires_after":{}`), missing("output_expires_after.anchor")},
		{"expiry without seconds", plus(`"output_expires_after":{"anchor":"created_at"}`), missing("output_expires_after.seconds")},
		{"other anchor", plus(`"output_expires_after":{"anchor":"now","seconds":3600}`), refused{400, "output_expires_after.anchor", "invalid_value", ""}},
		{"seconds are text", plus(`"output_expires_after":{"anchor":"created_at","seconds":"3600"}`), refused{400, "output_expires_after.seconds", "invalid_type", ""}},
		{"few seconds", plus(`"output_expires_after":{"anchor":"created_at","seconds":3599}`), refused{400, "output_expires_after.seconds", "integer_below_min_value", ""}},
		{"many seconds", plus(`"output_expires_after":{"anchor":"created_at","seconds":2592001}`), refused{400, "output_expires_after.seconds", "integer_above_max_value", ""}},
	} {
		t.Run(c.name, func(t *testing.T) { c.want.check(t, a.json("POST", "/v1/batches", c.body)) })
	}
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x;;"} {
		refused{400, "", "unsupported_content_type", ""}.check(t, a.request("POST", "/v1/batches", create, "Content-Type", contentType))
	}
	if l := decode[openai.List[openai.Batch]](t, a.request("GET", "/v1/batches", "")); len(l.Data) != 0 {
		t.Errorf("%d batches were made", len(l.Data))
	}
}

func TestIdempotencyKey(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	first := a.json("POST", "/v1/batches", create, "Idempotency-Key", "key 1")
	id := decode[openai.Batch](t, first).ID
	decode[openai.Batch](t, a.json("POST", "/v1/batches/"+id+"/cancel", "")) // the first response is returned anyway
	same := ` { "completion_window":"24h", "endpoint" : "/v1/chat/completions", "input_file_id":"file-\u0061bc" } `
	if again := a.json("POST", "/v1/batches", same, "Idempotency-Key", "key 1"); string(again.body) != string(first.body) {
		t.Errorf("first %s\nagain %s", first.body, again.body)
	}
	other := strings.Replace(create, "24h", "12h", 1)
	r := a.json("POST", "/v1/batches", other, "Idempotency-Key", "key 1")
	refused{409, "", "", "This Idempotency-Key was used before, with another request."}.check(t, r)
	if r.Header.Get("X-Should-Retry") != "false" {
		t.Error("response allows retries of a request that cannot succeed")
	}
	for name, headers := range map[string][]string{
		"another key": {"Idempotency-Key", strings.Repeat("k", 255)}, "another tenant": {"Idempotency-Key", "key 1", tenantHeader, "other"}, "empty key": {"Idempotency-Key", ""}, "no key": nil,
	} {
		if got := a.createBatch(headers...); got.ID == id {
			t.Errorf("%s gave the same batch", name)
		}
	}
	for name, headers := range map[string][]string{
		"long key": {"Idempotency-Key", strings.Repeat("k", 256)}, "not ASCII": {"Idempotency-Key", "schlüssel"},
		"tab": {"Idempotency-Key", "a\tb"}, "two keys": {"Idempotency-Key", "a", "Idempotency-Key", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			refused{400, "Idempotency-Key", "invalid_value", ""}.check(t, a.json("POST", "/v1/batches", create, headers...))
		})
	}
}

func TestListBatches(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	if r := a.request("GET", "/v1/batches", ""); string(r.body) != `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}` {
		t.Errorf("empty list is %s", r.body)
	}
	var ids []string
	for range 25 {
		ids = append([]string{a.createBatch().ID}, ids...)
	}
	var seen []string
	for after := ""; ; {
		l := decode[openai.List[openai.Batch]](t, a.request("GET", "/v1/batches?after="+after, ""))
		for _, b := range l.Data {
			seen = append(seen, b.ID)
		}
		if !l.HasMore {
			break
		}
		if len(l.Data) != 20 || *l.LastID != l.Data[19].ID || *l.FirstID != l.Data[0].ID {
			t.Fatalf("a page of %d, from %s to %s", len(l.Data), *l.FirstID, *l.LastID)
		}
		after = *l.LastID
	}
	if diff := cmp.Diff(ids, seen); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

// fail ends a batch in validation.
func (a *api) fail(id string) {
	a.t.Helper()
	c, err := a.store.ClaimBatch(a.t.Context(), "me", time.Minute, batch.Validate)
	if err != nil || c.Batch.ID != id {
		a.t.Fatalf("claimed %s: %v", c.Batch.ID, err)
	}
	line := 1
	if err := a.store.FailBatch(a.t.Context(), c, []openai.BatchError{{Code: "invalid_json_line", Message: "m", Line: &line}}); err != nil {
		a.t.Fatal(err)
	}
}

func TestCancelAndDelete(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	running := a.createBatch().ID
	notRetried := func(r reply) reply {
		if r.Header.Get("X-Should-Retry") != "false" {
			t.Errorf("clients may retry %s", r.body)
		}
		return r
	}
	refused{409, "", "", "Cannot delete a batch with status 'validating'. Cancel it first."}.check(t, notRetried(a.request("DELETE", "/v1/batches/"+running+"?cancel=false", "")))
	refused{400, "cancel", "invalid_value", ""}.check(t, a.request("DELETE", "/v1/batches/"+running+"?cancel=no", ""))
	first := a.request("POST", "/v1/batches/"+running+"/cancel", "")
	if b := decode[openai.Batch](t, first); b.Status != "cancelling" || b.CancellingAt == nil {
		t.Errorf("got %s", first.body)
	}
	if again := a.json("POST", "/v1/batches/"+running+"/cancel", "{}"); string(again.body) != string(first.body) {
		t.Errorf("cancelled again: %s", again.body)
	}
	refused{404, "", "", "No batch found"}.check(t, a.request("POST", "/v1/batches/"+running+"/cancel", "", tenantHeader, "other"))

	failed := newAPI(t, upload.Limits{})
	id := failed.createBatch().ID
	failed.fail(id)
	b := decode[openai.Batch](t, failed.request("GET", "/v1/batches/"+id, ""))
	if b.Status != "failed" || b.FailedAt == nil || b.Errors == nil || b.Errors.Object != "list" || *b.Errors.Data[0].Line != 1 {
		t.Errorf("got %+v", b)
	}
	refused{409, "", "", "Cannot cancel a batch with status 'failed'."}.check(t, notRetried(failed.request("POST", "/v1/batches/"+id+"/cancel", "")))
	refused{400, "input", "invalid_value", ""}.check(t, failed.request("DELETE", "/v1/batches/"+id+"?input=yes", ""))
	refused{400, "input", "invalid_value", ""}.check(t, failed.request("DELETE", "/v1/batches/"+id+"?input=true&input=true", ""))
	got := failed.request("DELETE", "/v1/batches/"+id, "")
	if want := `{"id":"` + id + `","object":"batch","deleted":true,"message":"Batch ` + id + ` deleted successfully"}`; got.StatusCode != 200 || string(got.body) != want {
		t.Errorf("got %d %s, want %s", got.StatusCode, got.body, want)
	}
	gone := refused{404, "", "", "No batch found with id '" + id + "'."}
	gone.check(t, failed.request("GET", "/v1/batches/"+id, ""))
	gone.check(t, failed.request("DELETE", "/v1/batches/"+id, ""))
	gone.check(t, failed.request("POST", "/v1/batches/"+id+"/cancel", ""))
}

// A batch can be deleted in every state in which it has not ended, at once and
// with its input.
func TestDeleteRunning(t *testing.T) {
	for name, reach := range map[string]func(a *api, id string){
		"validating":  func(*api, string) {},
		"in_progress": func(a *api, _ string) { a.started(2) },
		"in_progress, paused": func(a *api, id string) {
			a.started(2)
			decode[openai.Batch](t, a.request("POST", "/v1/batches/"+id+"/pause", ""))
		},
		"finalizing": func(a *api, id string) { a.started(1); a.answered(id, 1, 0) },
		"cancelling": func(a *api, id string) {
			decode[openai.Batch](t, a.request("POST", "/v1/batches/"+id+"/cancel", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, upload.Limits{})
			input := a.upload("batch", "in.jsonl", line).ID
			id := decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, "file-abc", input, 1))).ID
			reach(a, id)
			status, _, _ := strings.Cut(name, ",")
			if b := decode[openai.Batch](t, a.request("GET", "/v1/batches/"+id, "")); b.Status != status {
				t.Fatalf("got a batch that is %s, want %s", b.Status, status)
			}
			refused{404, "", "", "No batch found"}.check(t, a.request("DELETE", "/v1/batches/"+id, "", tenantHeader, "other"))
			if got := decode[openai.Deleted](t, a.request("DELETE", "/v1/batches/"+id+"?input=true", "")); !got.Deleted || got.ID != id {
				t.Errorf("got %+v, want it deleted", got)
			}
			gone := refused{404, "", "", "No batch found with id '" + id + "'."}
			gone.check(t, a.request("GET", "/v1/batches/"+id, ""))
			gone.check(t, a.request("DELETE", "/v1/batches/"+id, ""))
			gone.check(t, a.request("POST", "/v1/batches/"+id+"/cancel", ""))
			if page := decode[openai.List[openai.Batch]](t, a.request("GET", "/v1/batches", "")); len(page.Data) != 0 {
				t.Errorf("listed: got %d batches, want none", len(page.Data))
			}
			refused{404, "id", "", ""}.check(t, a.request("GET", "/v1/files/"+input, ""))
			if r := a.request("GET", "/v1/batches/status", ""); !strings.Contains(string(r.body), `"total_batches_in_db":0,"active_batches_in_db":0`) {
				t.Errorf("status: got %s, want no batch", r.body)
			}
		})
	}
}

func TestDeleteWithInput(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for query, status := range map[string]int{"?input=true": 404, "?input=false": 200, "": 200} {
		input := a.upload("batch", "in.jsonl", line).ID
		b := decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, "file-abc", input, 1)))
		a.fail(b.ID)
		decode[openai.Deleted](t, a.request("DELETE", "/v1/batches/"+b.ID+query, ""))
		if r := a.request("GET", "/v1/files/"+input, ""); r.StatusCode != status {
			t.Errorf("%q: the input is answered %d, want %d", query, r.StatusCode, status)
		}
	}
}

func TestStoreTrouble(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	id := a.createBatch().ID
	a.store.fail["Batch"] = fmt.Errorf("reading batch: %w", batch.ErrUnavailable)
	r := a.request("GET", "/v1/batches/"+id, "")
	refused{503, "", "", "The service is temporarily unavailable."}.check(t, r)
	if r.Header.Get("Retry-After") == "" || r.envelope(t).Type != "server_error" {
		t.Errorf("got %v, %s", r.Header, r.body)
	}
	a.store.fail["Batch"] = errors.New("secret detail")
	r = a.request("GET", "/v1/batches/"+id, "")
	refused{500, "", "", "The server had an error processing your request."}.check(t, r)
	if strings.Contains(string(r.body), "secret") {
		t.Error("response contains internal details")
	}
}

// A batch whose model has no server says so wherever it is answered.
func TestWaitReason(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	b := a.createBatch()
	a.started(2)
	const want = `waiting for model "m": no server accepts requests`
	list := decode[openai.List[openai.Batch]](t, a.request("GET", "/v1/batches", ""))
	for name, got := range map[string]openai.Batch{
		"batch":    decode[openai.Batch](t, a.request("GET", "/v1/batches/"+b.ID, "")),
		"estimate": decode[openai.Batch](t, a.request("GET", "/v1/batches/"+b.ID+"?estimate=1", "")),
		"priority": decode[openai.Batch](t, a.request("POST", "/v1/batches/"+b.ID+"/priority", `{"priority":1}`)),
		"list":     list.Data[0],
	} {
		if got.WaitReason == nil || *got.WaitReason != want {
			t.Errorf("%s: got %+v, want wait_reason %q", name, got, want)
		}
	}
	if got := decode[openai.Batch](t, a.request("POST", "/v1/batches/"+b.ID+"/pause", "")); got.WaitReason != nil {
		t.Errorf("paused: got wait_reason %q, want null", *got.WaitReason)
	}
}
