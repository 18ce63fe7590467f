package vllm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"
)

const (
	chatPath        = "/v1/chat/completions"
	completionsPath = "/v1/completions"
)

// body is a request that may be given more members.
type body map[string]any

// chat returns a request for a number of tokens. The model is random: its answers are
// meaningless but reproducible.
func chat(prompt string, tokens int) body {
	return body{
		"model": model, "max_tokens": tokens, "ignore_eos": true, "temperature": 0, "seed": 1,
		"messages": []map[string]string{{"role": "user", "content": prompt}},
	}
}

func completion(prompt string, tokens int) body {
	return body{"model": model, "max_tokens": tokens, "ignore_eos": true, "temperature": 0, "seed": 1, "prompt": prompt}
}

// with returns a copy of b with more members.
func (b body) with(more body) body {
	both := maps.Clone(b)
	maps.Copy(both, more)
	return both
}

func (b body) streamed() body {
	return b.with(body{"stream": true, "stream_options": body{"include_usage": true}})
}

func (b body) json() []byte {
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // strings, numbers and maps of them
	}
	return text
}

// forcedTool makes a random model call a tool: a grammar leaves it one
// name and one value, with any white space between.
func forcedTool(b body) body {
	return b.with(body{
		"temperature": 1, "ignore_eos": false,
		"tools": []body{{"type": "function", "function": body{"name": "tide", "strict": true, "parameters": body{
			"type": "object", "properties": body{"place": body{"enum": []string{"quay"}}}, "required": []string{"place"}, "additionalProperties": false,
		}}}},
		"tool_choice": body{"type": "function", "function": body{"name": "tide"}},
	})
}

// answer is the response of a server or a gateway.
type answer struct {
	status int
	body   []byte
}

// post sends a request and reads the answer whole. A status that is not 200 is an
// answer as well.
func post(ctx context.Context, url, path string, b body) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+path, bytes.NewReader(b.json()))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	got, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("posting %s: %w", path, err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, text}, err
}

// ask is post for an answer of 200.
func ask(t *testing.T, url, path string, b body) []byte {
	t.Helper()
	got, err := post(t.Context(), url, path, b)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusOK {
		t.Fatalf("POST %s answered %d: %s", path, got.status, got.body)
	}
	return got.body
}

// decode decodes JSON.
func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("decoding an answer: %v: %.500s", err, text)
	}
}

// completed has the members of an answer to either path that tests read.
type completed struct {
	Choices []struct {
		Text         string
		FinishReason string `json:"finish_reason"`
		Message      struct {
			Content   *string
			ToolCalls []toolCall `json:"tool_calls"`
		}
		Logprobs *struct {
			Content []struct {
				Token       string
				Logprob     float64
				TopLogprobs []json.RawMessage `json:"top_logprobs"`
			}
			Tokens        []string
			TokenLogprobs []float64 `json:"token_logprobs"`
		}
	}
	Usage usage
}

type toolCall struct {
	Index    int
	Function struct{ Name, Arguments string }
}

type usage struct {
	PromptTokens        int64 `json:"prompt_tokens"`
	CompletionTokens    int64 `json:"completion_tokens"`
	PromptTokensDetails struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}
