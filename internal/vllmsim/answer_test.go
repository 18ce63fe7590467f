package vllmsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// examples are a good request for every endpoint that runs the model.
var examples = map[string]string{
	"chat":            chatPath + ` {"model":"sim","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"How high is the tide in Büsum?"}]}`,
	"chat parts":      chatPath + ` {"model":"sim","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}},{"type":"text","text":"what is \"this\"?\n\ud83c\udf0a"}]}]}`,
	"chat n":          chatPath + ` {"model":"sim","n":3,"max_tokens":5,"messages":[{"role":"user","content":"three"}]}`,
	"completion":      `/v1/completions {"model":"sim","prompt":"once upon a time"}`,
	"completions":     `/v1/completions {"model":"sim","prompt":["one","two"],"n":2,"max_tokens":100}`,
	"token ids":       `/v1/completions {"model":"sim","prompt":[1,2,3]}`,
	"response":        `/v1/responses {"model":"sim","input":"say it"}`,
	"response items":  `/v1/responses {"model":"sim","max_output_tokens":3,"input":[{"role":"user","content":[{"type":"input_text","text":"say it again"}]}]}`,
	"message":         `/v1/messages {"model":"sim","max_tokens":256,"messages":[{"role":"user","content":"hello"}]}`,
	"embedding":       `/v1/embeddings {"model":"sim","input":"a"}`,
	"embeddings":      `/v1/embeddings {"model":"sim","input":["a","b"],"dimensions":3}`,
	"base64":          `/v1/embeddings {"model":"sim","input":[[1,2],[3]],"encoding_format":"base64"}`,
	"pooling":         `/v1/pooling {"model":"sim","input":["a","b"]}`,
	"pooling chat":    `/pooling {"model":"sim","messages":[{"role":"user","content":"a"}]}`,
	"classify":        `/v1/classify {"model":"sim","input":["a","b"]}`,
	"score":           `/v1/score {"model":"sim","text_1":"q","text_2":["a","b"]}`,
	"rerank":          `/v1/rerank {"model":"sim","query":"q","documents":["a", "b",{"content":[]},"d"],"top_n":3}`,
	"moderation":      `/v1/moderations {"model":"sim","input":"a"}`,
	"marker tokens":   chatPath + ` ` + chatWith("[[sim:tokens=100]]"),
	"marker pretty":   chatPath + ` ` + chatWith("[[sim:pretty]]"),
	"marker huge":     chatPath + ` ` + chatWith("[[sim:huge=100000]]"),
	"marker no-usage": chatPath + ` ` + chatWith("[[sim:no-usage]]"),
	"escaped names":   chatPath + ` {"m\u006fdel":"s\u0069m","messages":[{"role":"user","content":"x"}]}`,
	"lone surrogate":  chatPath + ` {"model":"sim","messages":[{"role":"user","content":"half \ud800 pair"}]}`,
}

func TestExpectedIsWhatIsServed(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		t.Run(name, func(t *testing.T) {
			path, body, _ := strings.Cut(examples[name], " ")
			want, err := vllmsim.Expected(path, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				w := post(t, s, path, body)
				if w.Code != http.StatusOK {
					t.Fatalf("status %d: %s", w.Code, w.Body)
				}
				if diff := cmp.Diff(string(want), w.Body.String()); diff != "" {
					t.Fatalf("served differs from expected (-want +got):\n%s", diff)
				}
			}
			if !json.Valid(want) {
				t.Errorf("not JSON: %s", want)
			}
			if other, ok := seen[string(want)]; ok {
				t.Errorf("same answer as %s", other)
			}
			seen[string(want)] = name
		})
	}
	stats := s.Stats()
	if n := int64(len(examples)); stats.Finished != 2*n || stats.Distinct != n || stats.Repeated != n || stats.Running != 0 {
		t.Errorf("stats %+v after %d examples twice", stats, n)
	}
}

// The format is a contract: other tests and stored results rely on it.
func TestExpectedChatToTheByte(t *testing.T) {
	body := `{"model":"sim","messages":[{"role":"user","content":"ebb and \u00fcber"}],"max_tokens":5}`
	got, err := vllmsim.Expected(chatPath, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	const id = "8bc6e7a877a318f417e7d1b5f4fd5d5f" // sha256sum
	want := `{"id":"chatcmpl-` + id + `","object":"chat.completion","created":1706892266,"model":"sim","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"sim-` + id + ` ebb and über cape","refusal":null,"annotations":null,"audio":null,` +
		`"function_call":null,"tool_calls":[],"reasoning_content":null},"logprobs":null,"finish_reason":"length","stop_reason":null,` +
		`"token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":23,"total_tokens":28,` +
		`"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0}},"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestAnswersDiffer(t *testing.T) {
	seen := map[string]bool{}
	for i := range 1000 {
		// One token is sufficient to distinguish them.
		body := fmt.Sprintf(`{"model":"sim","max_tokens":1,"messages":[{"role":"user","content":"%d"}]}`, i)
		content := vllmsim.ExpectedContent(chatPath, []byte(body))
		if content == "" || seen[content] {
			t.Fatalf("content %q of %s is empty or not the first", content, body)
		}
		seen[content] = true
	}
	a := vllmsim.ExpectedContent("/v1/completions", []byte(`{"model":"sim","prompt":"x"}`))
	b := vllmsim.ExpectedContent("/v1/responses", []byte(`{"model":"sim","prompt":"x","input":"x"}`))
	if a == b {
		t.Error("different paths have the same content")
	}
}

type completion struct {
	Choices []struct {
		Text         string
		Message      struct{ Content string }
		FinishReason string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
}

func TestNumberOfTokens(t *testing.T) {
	for name, test := range map[string]struct {
		path, body string
		tokens     int // 0: 8 to 64
		reason     string
	}{
		"by digest":               {chatPath, chatWith("hello"), 0, "stop"},
		"max_tokens":              {chatPath, `{"model":"sim","max_tokens":3,"messages":[{"role":"user","content":"a b c d e"}]}`, 3, "length"},
		"max_completion_tokens":   {chatPath, `{"model":"sim","max_completion_tokens":2,"max_tokens":7,"messages":[{"role":"user","content":"x"}]}`, 2, "length"},
		"enough":                  {chatPath, `{"model":"sim","max_tokens":1000,"messages":[{"role":"user","content":"x"}]}`, 0, "stop"},
		"null":                    {chatPath, `{"model":"sim","max_tokens":null,"messages":[{"role":"user","content":"x"}]}`, 0, "stop"},
		"marker":                  {chatPath, chatWith("[[sim:tokens=200]]"), 200, "stop"},
		"marker below max_tokens": {chatPath, `{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":"[[sim:tokens=6]]"}]}`, 5, "length"},
		"completions default":     {"/v1/completions", `{"model":"sim","prompt":"[[sim:tokens=17]]"}`, 16, "length"},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := vllmsim.Expected(test.path, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			var got completion
			if err := json.Unmarshal(raw, &got); err != nil {
				t.Fatal(err)
			}
			n, words := got.Usage.Completion, len(strings.Fields(got.Choices[0].Message.Content+got.Choices[0].Text))
			if n != words || n < 1 || got.Usage.Total != n+got.Usage.Prompt || got.Usage.Prompt != (len(test.body)+3)/4 {
				t.Errorf("usage %+v for %d words of a body of %d bytes", *got.Usage, words, len(test.body))
			}
			if test.tokens == 0 && (n < 8 || n > 64) || test.tokens != 0 && n != test.tokens {
				t.Errorf("%d tokens, want %d", n, test.tokens)
			}
			if got.Choices[0].FinishReason != test.reason {
				t.Errorf("finish reason %q, want %q", got.Choices[0].FinishReason, test.reason)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	for prompt, want := range map[string]string{
		`a  b\n\tc`:                      " a b c ",
		`say \"hi\" \\ \/`:               ` say "hi" \ / `,
		`Grüße aus 東京 \ud83c\udf0a`:      " Grüße aus 東京 🌊 ",
		`[[sim:tokens=9]] first`:         " first ",
		`abcdefghijklmnopqrstuvwxyz`:     " abcdefghijklmnopqrstuvwx yz ",
		`東京東京東京東京東京`:                     " 東京東京東京東京 東京 ",
		`aééééééééééééééé`:               " aééééééééééé éééé ",
		`sim-id:line-7 [[sim:tokens=40]`: "",
	} {
		body := []byte(`{"model":"sim","messages":[{"role":"user","content":"` + prompt + ` [[sim:tokens=40]]"}]}`)
		got := vllmsim.ExpectedContent(chatPath, body)
		if want == "" {
			if got != "" {
				t.Errorf("%s: content %q of a marker that is not understood", prompt, got)
			}
			continue
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: content %q lacks %q", prompt, got, want)
		}
	}
}

func TestMarkersInExpected(t *testing.T) {
	plain := vllmsim.ExpectedContent(chatPath, []byte(chatWith("[[sim:tokens=9,times=2]][[sim:status=500]]")))
	if plain == "" {
		t.Error("a fault spoils the expectation")
	}
	huge := vllmsim.ExpectedContent(chatPath, []byte(chatWith("[[sim:huge=70001]]")))
	if len(huge) < 70001 || len(huge) > 80000 {
		t.Errorf("huge=70001: got %d bytes", len(huge))
	}
	raw, err := vllmsim.Expected(chatPath, []byte(chatWith("[[sim:no-usage]][[sim:pretty]]")))
	if err != nil {
		t.Fatal(err)
	}
	var got completion
	if err := json.Unmarshal(raw, &got); err != nil || got.Usage != nil || !strings.Contains(string(raw), "\n  \"choices\": [\n") {
		t.Errorf("no-usage and pretty: got %s (%v)", raw, err)
	}
}

func TestExpectedRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		path, body string
		status     int // 0: no Refusal
	}{
		"unknown path": {"/v1/chat", chatWith("x"), 0},
		"no model":     {chatPath, `{"messages":[{"role":"user","content":"x"}]}`, 0},
		"no JSON":      {chatPath, `{`, 400},
		"no messages":  {chatPath, `{"model":"sim"}`, 400},
	} {
		_, err := vllmsim.Expected(test.path, []byte(test.body))
		refusal, ok := errors.AsType[*vllmsim.Refusal](err)
		if err == nil || ok != (test.status != 0) || ok && refusal.Status != test.status {
			t.Errorf("%s: error %v, want status %d", name, err, test.status)
		}
	}
}

func TestKey(t *testing.T) {
	for body, want := range map[string]string{
		chatWith("sim-id:line_7.a-b!"):    "line_7.a-b",
		chatWith("see sim-id:x sim-id:y"): "x",
	} {
		if got := vllmsim.Key(chatPath, []byte(body)); got != want {
			t.Errorf("key of %s is %q, want %q", body, got, want)
		}
	}
	a, b := vllmsim.Key(chatPath, []byte("sim-id:")), vllmsim.Key("/v1/completions", []byte("sim-id:"))
	if len(a) != 32 || len(b) != 32 || a == b {
		t.Errorf("keys without a name are %q and %q", a, b)
	}
}

func TestRerankIsSorted(t *testing.T) {
	raw, err := vllmsim.Expected("/v1/rerank", []byte(`{"model":"sim","query":"q","documents":["a","b","c","d","e"],"top_n":4}`))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results []struct {
			Index    int
			Document struct{ Text string }
			Score    float64 `json:"relevance_score"`
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil || len(got.Results) != 4 {
		t.Fatalf("%s: %v", raw, err)
	}
	for i, r := range got.Results {
		if r.Document.Text != string(rune('a'+r.Index)) {
			t.Errorf("index %d has text %q", r.Index, r.Document.Text)
		}
		if i > 0 && r.Score > got.Results[i-1].Score {
			t.Errorf("result %d scores higher than the one before", i)
		}
	}
}

// The members of a chat are those of the version.
func TestVersions(t *testing.T) {
	body := chatWith("hello")
	for version, want := range map[string][2]string{
		vllmsim.DefaultVersion: {`"tool_calls":[],"reasoning_content":null}`, `"reasoning":null`},
		vllmsim.NewerVersion:   {`"function_call":null,"reasoning":null}`, `"reasoning_content"`},
	} {
		s := vllmsim.New(vllmsim.Config{Version: version})
		defer s.Close()
		got := post(t, s, chatPath, body).Body.String()
		expected, err := vllmsim.ExpectedOf(version, chatPath, []byte(body))
		if err != nil || got != string(expected) {
			t.Errorf("%s answers %s, want %s, %v", version, got, expected, err)
		}
		if !strings.Contains(got, want[0]) || strings.Contains(got, want[1]) {
			t.Errorf("%s answers %s, want %s and no %s", version, got, want[0], want[1])
		}
		if version := get(t, s, "/version").Body.String(); !strings.Contains(version, "+sim") {
			t.Errorf("/version answers %s", version)
		}
	}
}
