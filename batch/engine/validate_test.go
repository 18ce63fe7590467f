package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestValidationFindings(t *testing.T) {
	t.Parallel()
	good := strings.TrimSuffix(batchtest.Input(1), "\n")
	tests := map[string]struct {
		input string
		code  string
		line  int // 0 for none
		param string
	}{
		"no such model":   {batchtest.InputFor(1, "mm"), "model_not_found", 1, "body.model"},
		"duplicate":       {good + "\n\n" + good, "duplicate_custom_id", 3, "custom_id"},
		"not JSON":        {good + "\r\n{", "invalid_json_line", 2, ""},
		"other endpoint":  {strings.Replace(good, "/v1/chat/completions", "/v1/embeddings", 1), "invalid_url", 1, "url"},
		"too many lines":  {batchtest.Input(11), "too_many_requests", 11, ""},
		"line too long":   {good + "\n{\"a\":\"" + strings.Repeat("x", 5000) + "\"}", "invalid_request", 2, ""},
		"streaming asked": {strings.Replace(good, `"model"`, `"stream":true,"model"`, 1), "streaming_unsupported", 1, "body.stream"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, batch.Config{MaxRequests: 10, MaxLineBytes: 4096})
			h.Open()
			b := h.Wait(h.Create(h.Upload(tt.input)))
			if b.Status != batch.Failed || len(b.Errors) != 1 || b.Counts != (openai.RequestCounts{}) {
				t.Fatalf("%s %+v %+v", b.Status, b.Errors, b.Counts)
			}
			e := b.Errors[0]
			line, param := 0, ""
			if e.Line != nil {
				line = *e.Line
			}
			if e.Param != nil {
				param = *e.Param
			}
			if e.Code != tt.code || line != tt.line || param != tt.param || e.Message == "" {
				t.Errorf("got %s line %d param %q (%s), want %s line %d param %q", e.Code, line, param, e.Message, tt.code, tt.line, tt.param)
			}
		})
	}
}

func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	content := batchtest.Input(1) + strings.Repeat("{}\n", 300)
	b := h.Wait(h.Create(h.Upload(content)))
	if len(b.Errors) != 501 {
		t.Fatalf("%d findings", len(b.Errors))
	}
	if last := b.Errors[500]; !strings.Contains(last.Message, "more errors") {
		t.Errorf("%+v", last)
	}
}

func TestMissingInputFails(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	b := h.Wait(h.Create("file-doesnotexist"))
	if b.Status != batch.Failed || b.Errors[0].Code != "invalid_request" || *b.Errors[0].Param != "file_id" || b.Errors[0].Line != nil {
		t.Errorf("%+v", b)
	}
}

func TestInputDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 10, CollectInterval: time.Millisecond})
	answer, open := batchtest.First(20)
	h.Pool.Answer = answer
	h.Open()
	fileID := h.Upload(batchtest.Input(400))
	id := h.Create(fileID)
	h.WaitCounted(id, 20)
	if err := h.Store.DeleteFile(t.Context(), tenant, fileID); err != nil {
		t.Fatal(err)
	}
	open()
	b := h.Wait(id)
	if b.Status != batch.Completed {
		t.Errorf("%+v", b)
	}
	h.Check(b, 400)
}
