package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// rank orders states: a batch never goes back.
var rank = map[string]int{
	"validating": 0, "in_progress": 1, "finalizing": 2, "cancelling": 3,
	"failed": 4, "completed": 4, "expired": 4, "cancelled": 4,
}

const ended = 4

// judge returns the contradictions in the responses to a client, and missing results.
func judge(s *session) []string {
	j := &judgement{session: s, contents: make(map[string][]byte)}
	if s.Unanswered != "" {
		j.complain("no gateway answered %s", s.Unanswered)
	}
	for i := range s.Told {
		j.hear(&s.Told[i])
	}
	if j.batch == nil {
		if len(j.problems) == 0 {
			j.complain("the batch was never accepted")
		}
		return j.problems
	}
	j.end()
	return j.problems
}

// judgement is the state of a judge.
type judgement struct {
	*session
	uploaded string        // id of the input file
	batch    *openai.Batch // as last received
	raw      map[string]any
	deleted  bool // and a response said so, or that it does not exist
	wanted   bool // to be cancelled, and that was accepted
	over     bool // a response said that it can no longer be cancelled
	contents map[string][]byte
	problems []string
}

func (j *judgement) complain(format string, args ...any) {
	j.problems = append(j.problems, j.Name+": "+fmt.Sprintf(format, args...))
}

// hear processes one response.
func (j *judgement) hear(t *told) {
	switch {
	case t.Method == http.MethodPost && t.Path == "/v1/files":
		var f openai.File
		if j.decode(t, &f) && f.Bytes != int64(len(j.Input)) {
			j.complain("an upload of %d bytes was stored as %d", len(j.Input), f.Bytes)
		}
		j.uploaded = f.ID
	case strings.HasSuffix(t.Path, "/content"):
		j.hearContent(t)
	case t.Method == http.MethodDelete:
		if t.Status != http.StatusOK && t.Status != http.StatusNotFound {
			j.complain("a batch that has ended cannot be deleted: %d %s", t.Status, t.Body)
		}
		// The response to a deletion may have been lost; then the batch no longer exists.
		if t.Status == http.StatusNotFound && t.Tries <= 1 && !j.deleted && !j.Shared {
			j.complain("%s %s of an accepted batch says 404", t.Method, t.Path)
		}
		j.deleted = true
	case t.Status == http.StatusNotFound:
		if !j.deleted && !j.Shared {
			j.complain("%s %s of an accepted batch says 404", t.Method, t.Path)
		}
		j.deleted = true
	case t.Status == http.StatusConflict:
		if !strings.HasSuffix(t.Path, "/cancel") || j.wanted {
			j.complain("%s %s says 409: %s", t.Method, t.Path, t.Body)
		}
		j.over = true
	default:
		j.hearBatch(t)
	}
}

func (j *judgement) decode(t *told, into any) bool {
	if err := json.Unmarshal(t.Body, into); err != nil || t.Status != http.StatusOK {
		j.complain("%s %s says %d %.300s (%v)", t.Method, t.Path, t.Status, t.Body, err)
		return false
	}
	return true
}

func (j *judgement) hearContent(t *told) {
	id := contentOf(t.Path)
	if t.Status != http.StatusOK {
		if !j.deleted && !j.Shared {
			j.complain("the content of %s cannot be had: %d", id, t.Status)
		}
		return
	}
	if before, known := j.contents[id]; known && !bytes.Equal(before, t.Content) {
		j.complain("the content of %s has changed", id)
	}
	if id == j.uploaded && !bytes.Equal(t.Content, j.Input) {
		j.complain("the content of the upload is another one")
	}
	j.contents[id] = t.Content
}

// constant are the fields of a batch that never change once they are not null.
var constant = []string{
	"id", "object", "endpoint", "model", "input_file_id", "completion_window", "output_file_id", "error_file_id", "created_at", "in_progress_at",
	"expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at",
}

// hearBatch processes a batch, which must be consistent with earlier responses.
func (j *judgement) hearBatch(t *told) {
	var b openai.Batch
	var raw map[string]any
	if !j.decode(t, &b) || !j.decode(t, &raw) {
		return
	}
	if j.deleted {
		j.complain("a deleted batch is there again: %s %s", t.Method, t.Path)
		return
	}
	j.wanted = j.wanted || strings.HasSuffix(t.Path, "/cancel")
	if rank[b.Status] == ended && j.wanted && b.Status != "cancelled" {
		j.complain("a cancel was accepted, and it is %s", b.Status)
	}
	if rank[b.Status] != ended && j.over {
		j.complain("it was over, and is %s", b.Status)
	}
	c := b.RequestCounts
	if c.Completed+c.Failed > c.Total || c.Total != 0 && c.Total != int64(j.Lines) {
		j.complain("counts %+v of %d lines", c, j.Lines)
	}
	if was := j.batch; was != nil {
		if rank[b.Status] < rank[was.Status] || rank[was.Status] == ended && b.Status != was.Status {
			j.complain("it was %s and is %s", was.Status, b.Status)
		}
		if w := was.RequestCounts; c.Total < w.Total || c.Completed < w.Completed || c.Failed < w.Failed {
			j.complain("counts went from %+v to %+v", w, c)
		}
		if rank[was.Status] == ended && c != was.RequestCounts {
			j.complain("counts of a batch that has ended went from %+v to %+v", was.RequestCounts, c)
		}
		for _, field := range constant {
			if old := j.raw[field]; old != nil && !reflect.DeepEqual(old, raw[field]) {
				j.complain("%s was %v and is %v", field, old, raw[field])
			}
		}
	} else if b.InputFileID != j.uploaded {
		j.complain("the batch has the input %s instead of %s", b.InputFileID, j.uploaded)
	}
	j.batch, j.raw = &b, raw
}

// why has the codes of lines that never ran, by the state of the batch.
var why = map[string]string{"cancelled": "batch_cancelled", "expired": "batch_expired"}

// end compares the final state of the batch with its input. In these tests the servers
// answer every request except those to be refused: no other line may fail.
func (j *judgement) end() {
	b := j.batch
	if j.Shared && j.deleted {
		return
	}
	if rank[b.Status] != ended || b.Status == "failed" {
		j.complain("it is %s after all: %s", b.Status, j.Told[len(j.Told)-1].Body)
		return
	}
	output, ok := j.content(b.OutputFileID)
	errors, ok2 := j.content(b.ErrorFileID)
	if !ok || !ok2 {
		return
	}
	results, problems := tidegatetest.Compare(j.Input, output, errors)
	for i, p := range problems {
		if i == 5 {
			j.complain("and %d more", len(problems)-i)
			break
		}
		j.complain("%s", p)
	}
	for id := range results.Output {
		if j.Refused[id] {
			j.complain("%s stands in the output file, and the servers refuse it", id)
			break
		}
	}
	failed := int64(0)
	for id, r := range results.Errors {
		switch {
		case r.Response != nil && r.Response.StatusCode == refusal && j.Refused[id]:
			failed++
		case r.Response != nil || r.Error == nil || r.Error.Code != why[b.Status]:
			j.complain("%s of a batch that is %s failed: %+v %+v", id, b.Status, r.Error, r.Response)
		}
	}
	c := b.RequestCounts
	if c.Total != int64(j.Lines) || c.Completed != int64(len(results.Output)) || c.Failed != failed {
		j.complain("it is %s with counts %+v, and %d and %d lines in its files, %d of which were refused", b.Status, c, len(results.Output), len(results.Errors), failed)
	}
	if want := tokens(results); b.Usage.InputTokens != want.InputTokens || b.Usage.OutputTokens != want.OutputTokens {
		j.complain("usage is %+v, and its results come to %+v", b.Usage, want)
	}
}

// content returns the received content of a file; "" for none.
func (j *judgement) content(id *string) ([]byte, bool) {
	if id == nil || *id == "" {
		return nil, true
	}
	content, known := j.contents[*id]
	if !known && !j.Shared {
		j.complain("the client never got %s", *id)
	}
	return content, known
}

// tokens sums the usage of results.
func tokens(r tidegatetest.Results) (sum openai.Usage) {
	for _, result := range r.Output {
		var body struct {
			Usage struct {
				Prompt     int64 `json:"prompt_tokens"`
				Completion int64 `json:"completion_tokens"`
			} `json:"usage"`
		}
		if json.Unmarshal(result.Response.Body, &body) == nil { // Compare has reported invalid results
			sum.InputTokens += body.Usage.Prompt
			sum.OutputTokens += body.Usage.Completion
		}
	}
	return sum
}

// outcome returns the last received state of a client's batch and of files by id, and
// whether the batch is deleted.
func outcome(s *session) (b openai.Batch, contents map[string][sha256.Size]byte, deleted bool) {
	contents = make(map[string][sha256.Size]byte)
	for _, t := range s.Told {
		switch {
		case t.Content != nil:
			contents[contentOf(t.Path)] = sha256.Sum256(t.Content)
		case t.Method == http.MethodDelete || t.Status == http.StatusNotFound:
			deleted = true
		case strings.HasPrefix(t.Path, "/v1/batches") && t.Status == http.StatusOK:
			if err := json.Unmarshal(t.Body, &b); err != nil {
				panic(err) // the judge has read it
			}
		}
	}
	return b, contents, deleted
}

// contentOf is the id of the file whose content a path names.
func contentOf(path string) string {
	return strings.TrimSuffix(strings.TrimPrefix(path, "/v1/files/"), "/content")
}
