package vllmsim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// with adds members to a chat.
func with(members string) string {
	return strings.TrimSuffix(chatWith("hello \\\"there\\\" [[sim:tokens=5]]"), "}") + "," + members + "}"
}

func TestSamplingParameters(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for members, say := range map[string]string{
		`"temperature":0`:                   "",
		`"temperature":2.0`:                 "",
		`"temperature":null`:                "",
		`"temperature":-0.1`:                "temperature must be in [0, 2], got -0.1.",
		`"temperature":2.1`:                 "temperature must be in [0, 2], got 2.1.",
		`"temperature":"hot"`:               "Input should be a valid number",
		`"top_p":0`:                         "top_p must be in (0, 1], got 0.",
		`"top_p":1`:                         "",
		`"top_k":-2`:                        "top_k must be 0 (disable), or at least 1, got -2.",
		`"min_p":1.5`:                       "min_p must be in [0, 1], got 1.5.",
		`"presence_penalty":3`:              "presence_penalty must be in [-2, 2], got 3.",
		`"frequency_penalty":-3`:            "frequency_penalty must be in [-2, 2], got -3.",
		`"repetition_penalty":0`:            "repetition_penalty must be greater than zero, got 0.",
		`"top_logprobs":2`:                  "when using `top_logprobs`, `logprobs` must be set to true.",
		`"logprobs":true,"top_logprobs":21`: "Requested sample logprobs of 21, which is greater than max allowed: 20",
		`"logprobs":"yes"`:                  "Input should be a valid boolean",
		`"min_tokens":9,"max_tokens":8`:     "min_tokens must be less than or equal to max_tokens=8, got 9.",
		`"tool_choice":"required"`:          "When using `tool_choice`, `tools` must be set.",
		`"tool_choice":"none"`:              "",
		`"tools":{},"tool_choice":"auto"`:   "Input should be a valid list",
		`"tools":[{"type":"function","function":{"name":"a"}}],"tool_choice":"later"`:                                     "Invalid value for `tool_choice`",
		`"tools":[{"type":"function","function":{"name":"a"}}],"tool_choice":{"type":"function","function":{"name":"b"}}`: "does not match any of the specified `tools`",
	} {
		want := http.StatusBadRequest
		if say == "" {
			want = http.StatusOK
		}
		got := post(t, s, chatPath, with(members))
		var refusal struct{ Error struct{ Message string } }
		if err := json.Unmarshal(got.Body.Bytes(), &refusal); err != nil || got.Code != want || !strings.Contains(refusal.Error.Message, say) {
			t.Errorf("%s is answered %d %s, want %d with %q", members, got.Code, got.Body, want, say)
		}
	}
}

func TestIgnoreEOS(t *testing.T) {
	for body, want := range map[string]int{
		`{"model":"sim","prompt":"x","max_tokens":300,"ignore_eos":true}`:         300,
		`{"model":"sim","prompt":"x","max_tokens":3,"ignore_eos":true}`:           3,
		`{"model":"sim","prompt":"x","max_tokens":300,"min_tokens":200}`:          200,
		`{"model":"sim","prompt":"x","max_tokens":2000000000,"ignore_eos":false}`: 0,
	} {
		text, err := vllmsim.Expected("/v1/completions", []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Usage struct {
				CompletionTokens int `json:"completion_tokens"`
			}
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		if got := answer.Usage.CompletionTokens; got != want && (want > 0 || got > 64) {
			t.Errorf("%s has %d tokens, want %d", body, got, want)
		}
	}
}

// choice has the tools and logprobs of a chat, whole or streamed.
type choice struct {
	Content   string
	Name, ID  string
	Arguments string
	Reason    string
	Logprobs  []map[string]any
}

type chatPart struct {
	Content   *string
	ToolCalls []struct {
		ID       string
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

// chatOf reads a whole answer or the chunks of a stream.
func chatOf(t *testing.T, texts ...string) (all [2]choice) {
	t.Helper()
	for _, text := range texts {
		var answer struct {
			Choices []struct {
				Index          int
				Message, Delta chatPart
				Logprobs       *struct{ Content []map[string]any }
				FinishReason   string `json:"finish_reason"`
			}
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, c := range answer.Choices {
			to := &all[c.Index]
			for _, part := range []chatPart{c.Message, c.Delta} {
				if part.Content != nil {
					to.Content += *part.Content
				}
				for _, call := range part.ToolCalls {
					to.ID += call.ID
					to.Name += call.Function.Name
					to.Arguments += call.Function.Arguments
				}
			}
			if c.Logprobs != nil {
				to.Logprobs = append(to.Logprobs, c.Logprobs.Content...)
			}
			to.Reason += c.FinishReason
		}
	}
	return all
}

// TestToolsAndLogprobs checks that a stream has the same tools and logprobs as the whole
// answer.
func TestToolsAndLogprobs(t *testing.T) {
	const tools = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}},{"type":"function","function":{"name":"tide"}}]`
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	for members, want := range map[string]struct {
		name, reason string
		logprobs     int
		alternatives int
	}{
		tools:                                     {"", "stop", 0, 0},
		tools + `,"tool_choice":"auto"`:           {"", "stop", 0, 0},
		tools + `,"tool_choice":"none"`:           {"", "stop", 0, 0},
		tools + `,"tool_choice":"required","n":2`: {"weather", "tool_calls", 0, 0},
		tools + `,"tool_choice":{"type":"function","function":{"name":"tide"}},"n":2`: {"tide", "tool_calls", 0, 0},
		tools + `,"tool_choice":"required","max_tokens":3`:                            {"weather", "length", 0, 0},
		`"logprobs":true`:                        {"", "stop", 5, 0},
		`"logprobs":true,"top_logprobs":3,"n":2`: {"", "stop", 5, 3},
		`"logprobs":false`:                       {"", "stop", 0, 0},
	} {
		t.Run(members, func(t *testing.T) {
			body := with(members)
			whole := chatOf(t, post(t, s, chatPath, body).Body.String())
			// The stream of the same digest: streaming is part of the body.
			body = streamed(body)
			expected, err := vllmsim.Expected(chatPath, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			var chunks []string
			for _, e := range events(t, post(t, s, chatPath, body).Body.String()) {
				if e.data != "[DONE]" {
					chunks = append(chunks, e.data)
				}
			}
			if diff := cmp.Diff(chatOf(t, string(expected)), chatOf(t, chunks...)); diff != "" {
				t.Errorf("whole (-) and streamed (+) differ:\n%s", diff)
			}
			c := whole[0]
			if c.Name != want.name || c.Reason != want.reason || len(c.Logprobs) != want.logprobs {
				t.Errorf("got %+v, want %+v", c, want)
			}
			if (c.Content == "") != (want.name != "") {
				t.Errorf("content %q beside the call of %q", c.Content, want.name)
			}
			if want.name != "" && want.reason != "length" {
				var arguments struct{ Answer string }
				if err := json.Unmarshal([]byte(c.Arguments), &arguments); err != nil || !strings.HasPrefix(arguments.Answer, "sim-") || whole[0].ID == whole[1].ID {
					t.Errorf("arguments %s, %v; ids %s and %s", c.Arguments, err, whole[0].ID, whole[1].ID)
				}
			}
			text := ""
			for _, l := range c.Logprobs {
				text += fmt.Sprint(l["token"])
				if v, ok := l["logprob"].(float64); !ok || v > 0 || len(l["top_logprobs"].([]any)) != want.alternatives {
					t.Errorf("logprob %v", l)
				}
			}
			if want.logprobs > 0 && text != c.Content {
				t.Errorf("the tokens of the logprobs are %q, want %q", text, c.Content)
			}
		})
	}
}

func TestLogprobsOfCompletions(t *testing.T) {
	s := vllmsim.New(vllmsim.Config{})
	defer s.Close()
	var answer struct {
		Choices []struct {
			Text     string
			Logprobs struct {
				TextOffset    []int                `json:"text_offset"`
				TokenLogprobs []float64            `json:"token_logprobs"`
				Tokens        []string             `json:"tokens"`
				TopLogprobs   []map[string]float64 `json:"top_logprobs"`
			}
		}
	}
	got := post(t, s, "/v1/completions", `{"model":"sim","prompt":"x","max_tokens":4,"logprobs":2}`).Body
	if err := json.Unmarshal(got.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	l := answer.Choices[0].Logprobs
	if len(l.Tokens) != 4 || len(l.TokenLogprobs) != 4 || len(l.TopLogprobs) != 4 || len(l.TextOffset) != 4 {
		t.Fatalf("got %+v", l)
	}
	for i, token := range l.Tokens {
		if !strings.HasPrefix(answer.Choices[0].Text[l.TextOffset[i]:], token) {
			t.Errorf("token %d is not at %d of %q", i, l.TextOffset[i], answer.Choices[0].Text)
		}
		if v, ok := l.TopLogprobs[i][token]; !ok || v != l.TokenLogprobs[i] || len(l.TopLogprobs[i]) != 2 {
			t.Errorf("alternatives of token %d are %v", i, l.TopLogprobs[i])
		}
	}
}
