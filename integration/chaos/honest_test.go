package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/vllmsim"
)

// honest returns a session without contradictions: three lines that were answered, and one
// that was refused.
func honest(t *testing.T) *session {
	t.Helper()
	const answered = 3
	s := &session{Name: "honest", Lines: answered + 1, Input: tidegatetest.BatchInput(t, answered+1, nil), Refused: map[string]bool{tidegatetest.CustomID(answered): true}}
	var output bytes.Buffer
	var in, out int64
	for i := range answered {
		body := tidegatetest.ChatBody(t, fmt.Sprintf("What does line %d of the batch bring?", i), false)
		answer, err := vllmsim.Expected(tidegatetest.ChatPath, body)
		if err != nil {
			t.Fatal(err)
		}
		var usage struct {
			Usage struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal(answer, &usage); err != nil {
			t.Fatal(err)
		}
		in, out = in+usage.Usage.Prompt, out+usage.Usage.Completion
		fmt.Fprintf(&output, `{"id":"batch_req_%d","custom_id":%q,"response":{"status_code":200,"request_id":"r","body":%s},"error":null}`+"\n", i, tidegatetest.CustomID(i), answer)
	}
	say := func(method, path string, status int, format string, args ...any) {
		s.Told = append(s.Told, told{Method: method, Path: path, Status: status, Body: fmt.Appendf(nil, format, args...)})
	}
	batch := func(status string, total, completed, failed int, files string, in, out int64) string {
		return fmt.Sprintf(`{"id":"batch_1","object":"batch","input_file_id":"file-1","status":%q,%s"created_at":7,
			"request_counts":{"total":%d,"completed":%d,"failed":%d},"usage":{"input_tokens":%d,"output_tokens":%d}}`, status, files, total, completed, failed, in, out)
	}
	say(http.MethodPost, "/v1/files", 200, `{"id":"file-1","bytes":%d}`, len(s.Input))
	say(http.MethodPost, "/v1/batches", 200, "%s", batch("validating", 0, 0, 0, "", 0, 0))
	say(http.MethodGet, "/v1/batches/batch_1", 200, "%s", batch("in_progress", 4, 1, 0, "", in/3, out/3))
	say(http.MethodGet, "/v1/batches/batch_1", 200, "%s", batch("completed", 4, 3, 1, `"output_file_id":"file-2","error_file_id":"file-3",`, in, out))
	s.Told = append(s.Told,
		told{Method: http.MethodGet, Path: "/v1/files/file-2/content", Status: 200, Content: output.Bytes()},
		told{Method: http.MethodGet, Path: "/v1/files/file-3/content", Status: 200, Content: fmt.Appendf(nil,
			`{"id":"batch_req_3","custom_id":%q,"response":{"status_code":%d,"request_id":"r","body":{}},"error":null}`+"\n", tidegatetest.CustomID(answered), refusal)},
		told{Method: http.MethodGet, Path: "/v1/files/file-1/content", Status: 200, Content: s.Input})
	return s
}

// TestJudge checks that the judge finds each kind of contradiction.
func TestJudge(t *testing.T) {
	const (
		upload = iota
		create
		running
		completed
		output
		refused
		input
	)
	edit := func(n int, old, replaced string) func(s *session) {
		return func(s *session) {
			text := string(s.Told[n].Body) + string(s.Told[n].Content)
			if !strings.Contains(text, old) {
				t.Errorf("no %q in %s", old, text)
			}
			text = strings.ReplaceAll(text, old, replaced)
			if n >= output {
				s.Told[n].Content = []byte(text)
			} else {
				s.Told[n].Body = []byte(text)
			}
		}
	}
	say := func(method, path string, status int, body string) func(s *session) {
		return func(s *session) {
			s.Told = append(s.Told, told{Method: method, Path: path, Status: status, Body: []byte(body)})
		}
	}
	drop := func(n int) func(s *session) {
		return func(s *session) { s.Told = append(s.Told[:n:n], s.Told[n+1:]...) }
	}
	const path = "/v1/batches/batch_1"
	for name, tt := range map[string]struct {
		change func(s *session)
		want   string // part of a problem; "" for none
	}{
		"nothing":                 {func(*session) {}, ""},
		"deleted":                 {say("DELETE", path, 200, "{}"), ""},
		"deleted twice":           {func(s *session) { say("DELETE", path, 404, "{}")(s); s.Told[len(s.Told)-1].Tries = 2 }, ""},
		"not deleted by a client": {say("DELETE", path, 404, "{}"), "says 404"},
		"late cancel":             {say("POST", path+"/cancel", 409, "{}"), ""},
		"upload of another size":  {edit(upload, `"bytes":`, `"bytes":1`), "was stored as"},
		"refused upload":          {func(s *session) { s.Told[upload].Status = 400 }, "says 400"},
		"never accepted":          {func(s *session) { s.Told = s.Told[:create] }, "never accepted"},
		"never ended":             {func(s *session) { s.Told = s.Told[:completed] }, "is in_progress after all"},
		"failed":                  {edit(completed, `"completed",`, `"failed",`), "is failed after all"},
		"lost":                    {func(s *session) { s.Told[running].Status = 404 }, "says 404"},
		"of another input":        {edit(create, "file-1", "file-9"), "instead of file-1"},
		"input changed":           {edit(running, "file-1", "file-9"), "input_file_id was file-1 and is file-9"},
		"made at another time":    {edit(completed, `"created_at":7`, `"created_at":8`), "created_at was"},
		"went back":               {edit(running, "in_progress", "finalizing"), ""},
		"went far back":           {edit(create, "validating", "finalizing"), "it was finalizing and is in_progress"},
		"another end":             {say("GET", path, 200, `{"id":"batch_1","object":"batch","input_file_id":"file-1","status":"cancelled","output_file_id":"file-2","error_file_id":"file-3","created_at":7,"request_counts":{"total":4,"completed":3,"failed":1}}`), "it was completed and is cancelled"},
		"there again":             {func(s *session) { say("DELETE", path, 200, "{}")(s); s.Told = append(s.Told, s.Told[completed]) }, "there again"},
		"cannot be deleted":       {say("DELETE", path, 409, "{}"), "cannot be deleted"},
		"fewer than before":       {edit(running, `"completed":1`, `"completed":3`), ""},
		"counts went down":        {edit(completed, `"completed":3`, `"completed":0`), "counts went from"},
		"too many":                {edit(running, `"completed":1`, `"completed":5`), "counts"},
		"other total":             {edit(running, `"total":4`, `"total":3`), "of 4 lines"},
		"too few":                 {edit(completed, `"completed":3`, `"completed":2`), "and 3 and 1 lines"},
		"counted twice":           {edit(completed, `"input_tokens":`, `"input_tokens":1`), "usage is"},
		"no output":               {drop(output), "never got file-2"},
		"missing line":            {func(s *session) { _, s.Told[output].Content, _ = bytes.Cut(s.Told[output].Content, []byte("\n")) }, "line-000000 has no result"},
		"line twice":              {func(s *session) { s.Told[output].Content = append(s.Told[output].Content, s.Told[output].Content...) }, "in the output file and in the output file"},
		"wrong answer":            {edit(output, `"content":"`, `"content":"x`), "wrong answer"},
		"upload changed":          {edit(input, "line 1", "line 9"), "another one"},
		"upload gone":             {func(s *session) { s.Told[input].Status = 404 }, "cannot be had"},
		"content changed": {func(s *session) {
			s.Told = append(s.Told, told{Method: "GET", Path: "/v1/files/file-2/content", Status: 200})
		}, "has changed"},
		"no error file": {drop(refused), "never got file-3"},
		"cancelled in vain": {func(s *session) {
			cancel := told{Method: "POST", Path: path + "/cancel", Status: 200, Body: bytes.Replace(s.Told[running].Body, []byte("in_progress"), []byte("cancelling"), 1)}
			s.Told = slices.Insert(s.Told, completed, cancel)
		}, "a cancel was accepted, and it is completed"},
		"too late, and not over": {func(s *session) {
			s.Told = slices.Insert(s.Told, running, told{Method: "POST", Path: path + "/cancel", Status: 409, Body: []byte("{}")})
		}, "it was over, and is in_progress"},
		"refused and answered":    {func(s *session) { s.Refused = map[string]bool{"line-000001": true} }, "the servers refuse it"},
		"not refused by a server": {func(s *session) { s.Refused = nil }, "of a batch that is completed failed"},
		"refused otherwise":       {edit(refused, "422", "500"), "of a batch that is completed failed"},
		"refused, not counted":    {edit(completed, `"completed":3,"failed":1`, `"completed":4,"failed":0`), "1 of which were refused"},
		"unanswered":              {func(s *session) { s.Unanswered = "GET /" }, "no gateway answered GET /"},
	} {
		t.Run(name, func(t *testing.T) {
			s := honest(t)
			tt.change(s)
			problems := strings.Join(judge(s), "\n")
			if tt.want == "" && problems != "" || !strings.Contains(problems, tt.want) {
				t.Errorf("complains %q, want %q", problems, tt.want)
			}
		})
	}
}
