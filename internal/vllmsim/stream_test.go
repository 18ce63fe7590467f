package vllmsim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// chunk is an event of any streaming endpoint.
type chunk struct {
	Type    string
	ID      string
	Choices []struct {
		Index        int
		Text         string
		Delta        struct{ Role, Content string }
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		Completion int `json:"completion_tokens"`
		Output     int `json:"output_tokens"`
		Total      int `json:"total_tokens"`
	}
	Delta    json.RawMessage
	Sequence int `json:"sequence_number"`
	Response struct {
		Status string
		Usage  *struct {
			Total int `json:"total_tokens"`
		}
	}
}

// readStream streams a request and gives its events and chunks; [DONE] is only
// among the events.
func readStream(t *testing.T, s *vllmsim.Server, path, body string) ([]event, []chunk) {
	t.Helper()
	w := post(t, s, path, body)
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("status %d, Content-Type %q: %s", w.Code, got, w.Body)
	}
	all := events(t, w.Body.String())
	chunks := make([]chunk, 0, len(all))
	for _, e := range all {
		if e.data == "[DONE]" {
			continue
		}
		var c chunk
		if err := json.Unmarshal([]byte(e.data), &c); err != nil {
			t.Fatalf("event %s: %v", e.data, err)
		}
		if e.name != c.Type {
			t.Errorf("event %q has type %q", e.name, c.Type)
		}
		chunks = append(chunks, c)
	}
	return all, chunks
}

func TestStreamedChatIsTheContent(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for i := range 50 {
		body := streamed(chatWith(fmt.Sprintf("number %d: Grüße, 東京", i)))
		all, chunks := readStream(t, s, chatPath, body)
		var text strings.Builder
		for at, c := range chunks {
			if len(c.Choices) != 1 || c.Usage != nil {
				t.Fatalf("chunk %d: %+v", at, c)
			}
			if last := at == len(chunks)-1; last != (c.Choices[0].FinishReason != nil) {
				t.Errorf("chunk %d of %d has finish reason %v", at, len(chunks), c.Choices[0].FinishReason)
			}
			text.WriteString(c.Choices[0].Delta.Content)
		}
		if chunks[0].Choices[0].Delta.Role != "assistant" || all[len(all)-1].data != "[DONE]" {
			t.Error("no role at the start or no [DONE] at the end")
		}
		if want := vllmsim.ExpectedContent(chatPath, []byte(body)); text.String() != want {
			t.Fatalf("deltas come to %q, want %q", text.String(), want)
		}
		raw, err := vllmsim.Expected(chatPath, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		var whole completion
		if err := json.Unmarshal(raw, &whole); err != nil {
			t.Fatal(err)
		}
		if whole.Choices[0].Message.Content != text.String() || whole.Usage.Completion != len(chunks)-1 {
			t.Fatalf("%d deltas, content %q; the answer is %s", len(chunks)-1, text.String(), raw)
		}
	}
}

func TestStreamOfSeveralChoices(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for path, body := range map[string]string{
		chatPath:          `{"model":"sim","stream":true,"n":2,"messages":[{"role":"user","content":"x"}]}`,
		"/v1/completions": `{"model":"sim","stream":true,"prompt":["x","y"]}`,
	} {
		_, chunks := readStream(t, s, path, body)
		var text [2]string
		for _, c := range chunks {
			text[c.Choices[0].Index] += c.Choices[0].Text + c.Choices[0].Delta.Content
		}
		if text[0] != vllmsim.ExpectedContent(path, []byte(body)) || text[1] == "" || text[1] == text[0] {
			t.Errorf("%s: choices are %q", path, text)
		}
	}
}

func TestStreamUsage(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for name, test := range map[string]struct {
		options string
		want    bool
	}{
		"asked for":     {`,"stream_options":{"include_usage":true}`, true},
		"not asked for": {`,"stream_options":{"include_usage":false}`, false},
		"null":          {`,"stream_options":null`, false},
		"default":       {`,"stream_options":{}`, true},
		"null inside":   {`,"stream_options":{"include_usage":null}`, false},
		"no-usage":      {`,"stream_options":{"x":[1],"include_usage":true},"user":"[[sim:no-usage]]"`, false},
	} {
		for path, prompt := range map[string]string{
			chatPath:          `"messages":[{"role":"user","content":"x"}]`,
			"/v1/completions": `"prompt":"x"`,
		} {
			_, chunks := readStream(t, s, path, `{"model":"sim","stream":true,`+prompt+test.options+`}`)
			last := chunks[len(chunks)-1]
			if got := last.Usage != nil; got != test.want || !got && len(last.Choices) == 0 {
				t.Errorf("%s on %s: last chunk %+v", name, path, last)
				continue
			}
			if test.want && (len(last.Choices) != 0 || last.Usage.Completion == 0 || last.Usage.Total <= last.Usage.Completion) {
				t.Errorf("%s on %s: last chunk %+v", name, path, last)
			}
		}
	}
}

func TestStreamedResponse(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	body := `{"model":"sim","stream":true,"input":"tell me"}`
	all, chunks := readStream(t, s, "/v1/responses", body)
	var text strings.Builder
	for i, c := range chunks {
		if c.Sequence != i {
			t.Errorf("event %d has sequence number %d", i, c.Sequence)
		}
		if c.Type == "response.output_text.delta" {
			var delta string
			if err := json.Unmarshal(c.Delta, &delta); err != nil {
				t.Fatal(err)
			}
			text.WriteString(delta)
		}
	}
	if text.String() != vllmsim.ExpectedContent("/v1/responses", []byte(body)) {
		t.Errorf("deltas come to %q", text.String())
	}
	last := chunks[len(chunks)-1]
	if all[0].name != "response.created" || last.Type != "response.completed" || last.Response.Usage == nil || last.Response.Usage.Total == 0 {
		t.Errorf("begins with %s, ends with %+v", all[0].name, last)
	}
	want, err := vllmsim.Expected("/v1/responses", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(all[len(all)-1].data, `"response":`+string(want)+"}") {
		t.Errorf("last event %s does not hold %s", all[len(all)-1].data, want)
	}
	_, cut := readStream(t, s, "/v1/responses", `{"model":"sim","stream":true,"input":"x","max_output_tokens":2}`)
	if last := cut[len(cut)-1]; last.Type != "response.incomplete" || last.Response.Status != "incomplete" {
		t.Errorf("cut by max_output_tokens it ends with %+v", last)
	}
}

func TestStreamedMessage(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	body := `{"model":"sim","stream":true,"max_tokens":500,"messages":[{"role":"user","content":"tell me"}]}`
	all, chunks := readStream(t, s, "/v1/messages", body)
	var text strings.Builder
	var names []string
	output := 0
	for _, c := range chunks {
		if len(names) == 0 || names[len(names)-1] != c.Type {
			names = append(names, c.Type)
		}
		if c.Usage != nil {
			output = c.Usage.Output
		}
		if c.Type == "content_block_delta" {
			var delta struct{ Text string }
			if err := json.Unmarshal(c.Delta, &delta); err != nil {
				t.Fatal(err)
			}
			text.WriteString(delta.Text)
		}
	}
	const want = "message_start content_block_start content_block_delta content_block_stop message_delta message_stop"
	if got := strings.Join(names, " "); got != want || all[len(all)-1].data != "[DONE]" {
		t.Errorf("events %s and then %s", got, all[len(all)-1].data)
	}
	content := vllmsim.ExpectedContent("/v1/messages", []byte(body))
	if text.String() != content || output != len(strings.Fields(content)) {
		t.Errorf("%d tokens, deltas come to %q", output, text.String())
	}
}
