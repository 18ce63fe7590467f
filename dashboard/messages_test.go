package dashboard_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
)

func TestPrompt(t *testing.T) {
	type list = []templates.Message
	long := strings.Repeat("ü", 40_000) // 80,000 bytes
	for name, tt := range map[string]struct {
		line string
		want list
	}{
		"no JSON":     {"{", nil},
		"no body":     {`{"custom_id":"a"}`, nil},
		"other types": {`{"body":{"messages":7,"prompt":{},"input":null,"query":[1]}}`, nil},
		"chat": {
			`{"body":{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:"}}]},7,{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"look","arguments":"{}"}}]}]}}`,
			list{{Role: "system", Text: "Be brief."}, {Role: "user", Text: "What is this?\n[image_url]"}, {Role: "tool call", Text: "look({})"}},
		},
		"completion":  {`{"body":{"prompt":"Once"}}`, list{{Role: "prompt", Text: "Once"}}},
		"completions": {`{"body":{"prompt":["Once","Twice"]}}`, list{{Role: "prompt", Text: "Once"}, {Role: "prompt", Text: "Twice"}}},
		"token ids":   {`{"body":{"prompt":[1,2,3]}}`, list{{Role: "prompt", Text: "3 token ids"}}},
		"responses": {
			`{"body":{"instructions":"Be kind.","input":[{"role":"user","content":[{"type":"input_text","text":"Hello"}]}]}}`,
			list{{Role: "instructions", Text: "Be kind."}, {Role: "user", Text: "Hello"}},
		},
		"rerank": {`{"body":{"query":"q","documents":["a",{"text":"b"}]}}`, list{{Role: "query", Text: "q"}, {Role: "document", Text: "a"}, {Role: "document", Text: "b"}}},
		"long":   {`{"body":{"prompt":"x` + long + `"}}`, list{{Role: "prompt", Text: ("x" + long)[:64<<10-1], Cut: true}}},
	} {
		if diff := cmp.Diff(tt.want, dashboard.Prompt([]byte(tt.line))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAnswer(t *testing.T) {
	type list = []templates.Message
	for name, tt := range map[string]struct {
		line string
		want list
	}{
		"no JSON": {"", nil},
		"chat": {
			`{"response":{"body":{"choices":[{"message":{"role":"assistant","reasoning_content":"Hm.","content":"Yes."},"finish_reason":"length"}]}}}`,
			list{{Role: "reasoning", Text: "Hm."}, {Role: "answer", Text: "Yes."}, {Role: "note", Text: "The answer was cut off at max_tokens."}},
		},
		"two choices": {
			`{"response":{"body":{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}}}`,
			list{{Role: "answer 1", Text: "a"}, {Role: "answer 2", Text: "b"}},
		},
		"tool call":  {`{"response":{"body":{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}}}`, list{{Role: "tool call", Text: `f({"a":1})`}}},
		"completion": {`{"response":{"body":{"choices":[{"text":"upon a time"}]}}}`, list{{Role: "answer", Text: "upon a time"}}},
		"responses": {
			`{"response":{"body":{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi"}]},{"type":"function_call","name":"g","arguments":"{}"}]}}}`,
			list{{Role: "answer", Text: "Hi"}, {Role: "tool call", Text: "g({})"}},
		},
		"embeddings":      {`{"response":{"body":{"data":[{"embedding":[0.1,0.2]}]}}}`, list{{Role: "answer", Text: "1 embedding(s), the first of 2 numbers"}}},
		"a server's":      {`{"response":{"status_code":400,"body":{"error":{"message":"too long"}}},"error":null}`, list{{Role: "error", Text: "too long"}}},
		"a gateway's":     {`{"response":null,"error":{"code":"batch_expired","message":"too late"}}`, list{{Role: "error", Text: "too late"}}},
		"a text":          {`{"response":{"body":"Bad gateway"}}`, list{{Role: "answer", Text: "Bad gateway"}}},
		"another's types": {`{"response":{"body":{"choices":[7,{"message":"x"}],"output":[7],"data":[7]}}}`, nil},
	} {
		if diff := cmp.Diff(tt.want, dashboard.Answer([]byte(tt.line))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestReadableLine checks that a line is shown as text and as JSON, that long text is folded,
// and that no text becomes markup.
func TestReadableLine(t *testing.T) {
	h := build(t, func(plain string) string {
		if strings.HasPrefix(plain, "Summarize") {
			return plain + strings.Repeat(" <b>again</b>", 300)
		}
		return plain
	})
	page := h.page("/batches/" + h.IDs()[9] + "/lines/3")
	inspect(t, "line", page)
	if got := byID(t, page, "answer-0"); got != "The customer cannot log in since the update." {
		t.Errorf("the answer is %q", got)
	}
	if got := byID(t, page, "prompt-0"); !strings.HasPrefix(got, "Summarize the ticket in two sentences. <b>again</b>") || !strings.Contains(got, "Show all") || strings.Count(got, "<b>again</b>") < 299 {
		t.Errorf("the prompt is %q", got)
	}
	for _, copied := range []string{"raw-input", "raw-result", "answer-0"} {
		if !strings.Contains(page, `data-copy="`+copied+`"`) || byID(t, page, copied) == "" {
			t.Errorf("%s cannot be copied", copied)
		}
	}
}
