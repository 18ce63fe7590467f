package httpapi_test

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestPauseAndResume(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	b := a.createBatch()
	path := "/v1/batches/" + b.ID
	if b.PausedAt != nil || b.Priority != 0 {
		t.Errorf("made: %+v", b)
	}
	for range 2 {
		if got := decode[openai.Batch](t, a.request("POST", path+"/pause", "")); got.PausedAt == nil || got.Status != "validating" {
			t.Errorf("paused: %+v", got)
		}
	}
	for range 2 {
		if got := decode[openai.Batch](t, a.request("POST", path+"/resume", "")); got.PausedAt != nil {
			t.Errorf("resumed: %+v", got)
		}
	}
	decode[openai.Batch](t, a.request("POST", path+"/cancel", ""))
	for verb, words := range map[string]string{"pause": "pause", "resume": "resume", "priority": "change the priority of"} {
		r := a.json("POST", path+"/"+verb, `{"priority":1}`)
		refused{409, "", "", "Cannot " + words + " a batch with status 'cancelling'."}.check(t, r)
		if r.Header.Get("X-Should-Retry") != "false" {
			t.Error("a retry cannot help")
		}
		refused{404, "", "", "No batch found with id 'batch_unknown'."}.check(t, a.json("POST", "/v1/batches/batch_unknown/"+verb, `{"priority":1}`))
		refused{404, "", "", "No batch found with id '" + b.ID + "'."}.check(t, a.json("POST", path+"/"+verb, `{"priority":1}`, tenantHeader, "other"))
		if r := a.request("GET", path+"/"+verb, ""); r.StatusCode != 405 || r.Header.Get("Allow") != "POST" {
			t.Errorf("GET %s: %d, Allow %q", verb, r.StatusCode, r.Header.Get("Allow"))
		}
	}
}

func TestPriority(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	made := decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, `{`, `{"priority":-100,`, 1), "Idempotency-Key", "k"))
	if made.Priority != -100 {
		t.Errorf("made with priority %d", made.Priority)
	}
	path := "/v1/batches/" + made.ID + "/priority"
	if got := decode[openai.Batch](t, a.json("POST", path, `{"priority":100}`)); got.Priority != 100 {
		t.Errorf("priority %d", got.Priority)
	}
	if again := decode[openai.Batch](t, a.json("POST", "/v1/batches", strings.Replace(create, `{`, `{"priority":-100,`, 1), "Idempotency-Key", "k")); again.Priority != -100 || again.ID != made.ID {
		t.Errorf("the first answer is not given again: %+v", again)
	}
	for body, want := range map[string]refused{
		`{}`:                  {400, "priority", "missing_required_parameter", "Missing required parameter: 'priority'."},
		`{"priority":null}`:   {400, "priority", "missing_required_parameter", "Missing required parameter: 'priority'."},
		`{"priority":101}`:    {400, "priority", "integer_above_max_value", "Invalid 'priority': integer above maximum value. Expected a value <= 100, but got 101 instead."},
		`{"priority":-101}`:   {400, "priority", "integer_below_min_value", "Invalid 'priority': integer below minimum value. Expected a value >= -100, but got -101 instead."},
		`{"priority":1.5}`:    {400, "priority", "invalid_type", "Invalid type for 'priority': expected an integer, but got a decimal instead."},
		`{"priority":"high"}`: {400, "priority", "invalid_type", "Invalid type for 'priority': expected an integer, but got a string instead."},
	} {
		want.check(t, a.json("POST", path, body))
		if body != `{}` && body != `{"priority":null}` {
			want.check(t, a.json("POST", "/v1/batches", strings.Replace(create, `{`, strings.TrimSuffix(body, "}")+",", 1)))
		}
	}
}

func TestRetryFailed(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	b := a.createBatch()
	refused{409, "", "", "Cannot retry the failed requests of a batch with status 'validating'."}.check(t, a.request("POST", "/v1/batches/"+b.ID+"/retry_failed", ""))
	refused{404, "", "", "No batch found with id 'batch_unknown'."}.check(t, a.request("POST", "/v1/batches/batch_unknown/retry_failed", ""))
	refused{404, "", "", "No batch found"}.check(t, a.request("POST", "/v1/batches/"+b.ID+"/retry_failed", "", tenantHeader, "other"))
	refused{400, "Idempotency-Key", "invalid_value", "Invalid header"}.check(t, a.request("POST", "/v1/batches/"+b.ID+"/retry_failed", "", "Idempotency-Key", "ä"))
}
