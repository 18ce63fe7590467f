package badinput

import (
	"net/http"
	"strings"
	"testing"
)

// creates are bodies of POST /v1/batches that are refused.
var creates = map[string]struct {
	body        string
	param, code string
}{
	"empty":                         {"", "", "*"},
	"no JSON":                       {"hello", "", "*"},
	"cut JSON":                      {`{"input_file_id":"file-1"`, "", "*"},
	"an array":                      {"[]", "", "*"},
	"null":                          {"null", "", "*"},
	"a string":                      {`"x"`, "", "*"},
	"two values":                    {"{}{}", "", "*"},
	"a key twice":                   {`{"input_file_id":"a","input_file_id":"b","endpoint":"/v1/chat/completions","completion_window":"24h"}`, "", "*"},
	"invalid UTF-8":                 {"{\"input_file_id\":\"\xff\"}", "", "*"},
	"2 MB":                          {`{"input_file_id":"` + strings.Repeat("x", 2<<20) + `"}`, "", "*"},
	"depth bomb":                    {strings.Repeat(`{"a":`, 100_000), "", "*"},
	"no input_file_id":              {`{"endpoint":"/v1/chat/completions","completion_window":"24h"}`, "input_file_id", "missing_required_parameter"},
	"input_file_id null":            {`{"input_file_id":null,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, "input_file_id", "missing_required_parameter"},
	"input_file_id empty":           {`{"input_file_id":"","endpoint":"/v1/chat/completions","completion_window":"24h"}`, "input_file_id", "missing_required_parameter"},
	"input_file_id a number":        {`{"input_file_id":1,"endpoint":"/v1/chat/completions","completion_window":"24h"}`, "input_file_id", "invalid_type"},
	"input_file_id an array":        {`{"input_file_id":["a"],"endpoint":"/v1/chat/completions","completion_window":"24h"}`, "input_file_id", "invalid_type"},
	"no endpoint":                   {`{"input_file_id":"file-1","completion_window":"24h"}`, "endpoint", "missing_required_parameter"},
	"endpoint unknown":              {`{"input_file_id":"file-1","endpoint":"/v1/magic","completion_window":"24h"}`, "endpoint", "invalid_value"},
	"endpoint absolute":             {`{"input_file_id":"file-1","endpoint":"http://127.0.0.1/v1/chat/completions","completion_window":"24h"}`, "endpoint", "invalid_value"},
	"endpoint with a query":         {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions?a=b","completion_window":"24h"}`, "endpoint", "invalid_value"},
	"endpoint a boolean":            {`{"input_file_id":"file-1","endpoint":true,"completion_window":"24h"}`, "endpoint", "invalid_type"},
	"window in words":               {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"soon"}`, "completion_window", "invalid_value"},
	"window without a unit":         {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24"}`, "completion_window", "invalid_value"},
	"window too short":              {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"59s"}`, "completion_window", "invalid_value"},
	"window too long":               {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"721h"}`, "completion_window", "invalid_value"},
	"window negative":               {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"-24h"}`, "completion_window", "invalid_value"},
	"window a number":               {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":24}`, "completion_window", "invalid_type"},
	"metadata an array":             {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":[]}`, "metadata", "invalid_type"},
	"metadata value a number":       {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"k":1}}`, "metadata.k", "invalid_type"},
	"metadata value an array":       {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"k":["a"]}}`, "metadata.k", "invalid_type"},
	"metadata value null":           {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"k":null}}`, "metadata.k", "invalid_type"},
	"metadata value of 513":         {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"k":"` + strings.Repeat("v", 513) + `"}}`, "metadata.k", "*"},
	"metadata key of 65":            {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"` + strings.Repeat("k", 65) + `":"v"}}`, "metadata", "*"},
	"metadata of 17 pairs":          {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","metadata":{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":"","j":"","k":"","l":"","m":"","n":"","o":"","p":"","q":""}}`, "metadata", "*"},
	"output expiry a number":        {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":3600}`, "output_expires_after", "invalid_type"},
	"output expiry without anchor":  {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":{"seconds":3600}}`, "output_expires_after.anchor", "missing_required_parameter"},
	"output expiry, wrong anchor":   {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":{"anchor":"x","seconds":3600}}`, "output_expires_after.anchor", "invalid_value"},
	"output expiry without seconds": {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":{"anchor":"created_at"}}`, "output_expires_after.seconds", "missing_required_parameter"},
	"output expiry too short":       {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":{"anchor":"created_at","seconds":1}}`, "output_expires_after.seconds", "*"},
	"output expiry in fractions":    {`{"input_file_id":"file-1","endpoint":"/v1/chat/completions","completion_window":"24h","output_expires_after":{"anchor":"created_at","seconds":3600.5}}`, "output_expires_after.seconds", "invalid_type"},
}

func TestCreates(t *testing.T) {
	g := startGateway(t)
	for name, tt := range creates {
		t.Run(name, func(t *testing.T) {
			answer := g.send(t, http.MethodPost, "/v1/batches", "application/json", tt.body)
			status := http.StatusBadRequest
			if len(tt.body) > 1<<20 {
				status = http.StatusRequestEntityTooLarge
			}
			answer.want(t, status, tt.param, tt.code)
			g.wantNothingLeft(t)
		})
	}
}

const unknownFile, unknownBatch = "file-00000000000000000000000000000000", "batch_00000000000000000000000000000000"

// requests that are refused, with all else about them right.
var requests = map[string]struct {
	method, path string
	status       int
	param, code  string
}{
	"files: limit 0":             {"GET", "/v1/files?limit=0", 400, "limit", "*"},
	"files: limit -1":            {"GET", "/v1/files?limit=-1", 400, "limit", "*"},
	"files: limit 10001":         {"GET", "/v1/files?limit=10001", 400, "limit", "*"},
	"files: limit in words":      {"GET", "/v1/files?limit=many", 400, "limit", "*"},
	"files: limit beyond int":    {"GET", "/v1/files?limit=99999999999999999999", 400, "limit", "*"},
	"files: two limits":          {"GET", "/v1/files?limit=1&limit=2", 400, "limit", "*"},
	"files: order":               {"GET", "/v1/files?order=up", 400, "order", "invalid_value"},
	"files: purpose":             {"GET", "/v1/files?purpose=evil", 400, "purpose", "invalid_value"},
	"files: unknown cursor":      {"GET", "/v1/files?after=" + unknownFile, 400, "after", "*"},
	"files: hostile cursor":      {"GET", "/v1/files?after='%3BDROP+TABLE+files%3B--", 400, "after", "*"},
	"files: bad query":           {"GET", "/v1/files?limit=%zz", 400, "*", "*"},
	"batches: limit 0":           {"GET", "/v1/batches?limit=0", 400, "limit", "*"},
	"batches: limit 101":         {"GET", "/v1/batches?limit=101", 400, "limit", "*"},
	"batches: unknown cursor":    {"GET", "/v1/batches?after=" + unknownBatch, 400, "after", "*"},
	"file: unknown":              {"GET", "/v1/files/" + unknownFile, 404, "id", "*"},
	"file: malformed id":         {"GET", "/v1/files/x", 404, "id", "*"},
	"file: id traversing":        {"GET", "/v1/files/..%2f..%2fetc%2fpasswd", 404, "*", "*"},
	"file: id of dots":           {"GET", "/v1/files/%2e%2e", 404, "*", "*"},
	"file: id with NUL":          {"GET", "/v1/files/file-%00", 404, "*", "*"},
	"file: id of a batch":        {"GET", "/v1/files/" + unknownBatch, 404, "id", "*"},
	"file: id of 5,000":          {"GET", "/v1/files/file-" + strings.Repeat("a", 5000), 404, "*", "*"},
	"file: content unknown":      {"GET", "/v1/files/" + unknownFile + "/content", 404, "id", "*"},
	"file: content traversing":   {"GET", "/v1/files/..%2f..%2f..%2ftidegate.db/content", 404, "*", "*"},
	"file: delete unknown":       {"DELETE", "/v1/files/" + unknownFile, 404, "id", "*"},
	"file: wrong method":         {"PUT", "/v1/files/" + unknownFile, 405, "*", "*"},
	"files: wrong method":        {"DELETE", "/v1/files", 405, "*", "*"},
	"file: unknown sub-resource": {"GET", "/v1/files/" + unknownFile + "/secrets", 404, "*", "*"},
	"file: two slashes":          {"GET", "/v1//files", 404, "*", "*"},
	"batch: unknown":             {"GET", "/v1/batches/" + unknownBatch, 404, "*", "*"},
	"batch: malformed id":        {"GET", "/v1/batches/batch_xyz", 404, "*", "*"},
	"batch: cancel unknown":      {"POST", "/v1/batches/" + unknownBatch + "/cancel", 404, "*", "*"},
	"batch: delete unknown":      {"DELETE", "/v1/batches/" + unknownBatch, 404, "*", "*"},
	"batch: wrong method":        {"PATCH", "/v1/batches/" + unknownBatch, 405, "*", "*"},
	"batch: GET cancel":          {"GET", "/v1/batches/" + unknownBatch + "/cancel", 405, "*", "*"},
	"upload: unknown":            {"POST", "/v1/uploads/upload_00000000000000000000000000000000/complete", 400, "*", "*"},
	"upload: cancel unknown":     {"POST", "/v1/uploads/upload_00000000000000000000000000000000/cancel", 404, "*", "*"},
	"upload: no body":            {"POST", "/v1/uploads", 400, "*", "*"},
	"unknown route":              {"GET", "/v1/magic", 404, "*", "*"},
	"control route":              {"POST", "/reset_prefix_cache", 404, "*", "*"},
	"control route escaped":      {"POST", "/v1/chat/..%2f..%2freset_prefix_cache", 404, "*", "*"},
	"adapter route":              {"POST", "/v1/load_lora_adapter", 404, "*", "*"},
	"chat: no body":              {"POST", "/v1/chat/completions", 400, "*", "*"},
	"chat: wrong method":         {"DELETE", "/v1/chat/completions", 405, "*", "*"},
	"chat: last slash":           {"POST", "/v1/chat/completions/", 404, "*", "*"},
	"model: unknown":             {"GET", "/v1/models/nope", 404, "*", "*"},
}

func TestRequests(t *testing.T) {
	g := startGateway(t)
	for name, tt := range requests {
		t.Run(name, func(t *testing.T) {
			g.send(t, tt.method, tt.path, "", "").want(t, tt.status, tt.param, tt.code)
			g.wantNothingLeft(t)
		})
	}
}

// TestLiveRequests checks that errors of live requests, from the gateway or the server,
// are always in the envelope.
func TestLiveRequests(t *testing.T) {
	g := startGateway(t)
	for name, tt := range map[string]struct {
		body        string
		status      int
		param, code string
	}{
		"no JSON":        {"hello", 400, "*", "*"},
		"cut JSON":       {`{"model":"sim","messages":[`, 400, "*", "*"},
		"an array":       {`[]`, 400, "*", "*"},
		"no model":       {`{"messages":[]}`, 400, "*", "*"}, // the only model is meant; the server refuses the messages
		"model a number": {`{"model":1}`, 400, "model", "invalid_type"},
		"unknown model":  {`{"model":"nope","messages":[]}`, 404, "model", "model_not_found"},
		"no messages":    {`{"model":"sim"}`, 400, "*", "*"},
	} {
		t.Run(name, func(t *testing.T) {
			g.send(t, http.MethodPost, "/v1/chat/completions", "application/json", tt.body).want(t, tt.status, tt.param, tt.code)
		})
	}
}
