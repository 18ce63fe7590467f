package vllm

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// recorder passes requests on to a server and keeps the bodies of its answers to
// POST.
type recorder struct {
	url    string
	bodies chan []byte
}

func record(t *testing.T, server string) *recorder {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{bodies: make(chan []byte, 1)}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(target) },
		FlushInterval: -1,
		ModifyResponse: func(answer *http.Response) error {
			if answer.Request.Method == http.MethodPost {
				answer.Body = &recorded{ReadCloser: answer.Body, to: r.bodies}
			}
			return nil
		},
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without it the proxy may break an answer that comes before the
		// proxy has seen the end of the request.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	r.url = proxy.URL
	return r
}

// recorded is the body of an answer, handed over at its end.
type recorded struct {
	io.ReadCloser
	seen bytes.Buffer
	to   chan<- []byte
}

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.seen.Write(p[:n])
	return n, err
}

func (r *recorded) Close() error {
	r.to <- r.seen.Bytes()
	return r.ReadCloser.Close()
}

// A client gets the bytes that the server sent, streamed or not; streams end with
// [DONE].
func (s *suite) answers(t *testing.T) {
	r := record(t, s.servers[0].URL)
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Upstreams: []string{r.url}})
	for _, c := range []struct {
		name, path string
		body       body
	}{
		{"chat", chatPath, chat("Why do tides change?", 64)},
		{"chat of two choices", chatPath, chat("Why do tides change?", 32).with(body{"n": 2, "temperature": 1})},
		{"chat with logprobs", chatPath, chat("Why do tides change?", 32).with(body{"logprobs": true, "top_logprobs": 2})},
		{"chat with a tool", chatPath, forcedTool(chat("Is it high tide?", 300))},
		{"chat with a schema", chatPath, chat("Is it high tide?", 32).with(body{"response_format": body{
			"type": "json_schema", "json_schema": body{"name": "answer", "schema": body{"enum": []string{"yes", "no"}}},
		}})},
		{"completion", completionsPath, completion("Tides change", 64)},
		{"completion of two prompts", completionsPath, completion("", 16).with(body{"prompt": []string{"The moon", "The sun"}})},
	} {
		t.Run(c.name, func(t *testing.T) {
			plain := ask(t, gateway.URL, c.path, c.body)
			if sent := <-r.bodies; !bytes.Equal(plain, sent) {
				t.Errorf("the answer is\n     %s\nsent %s", plain, sent)
			}
			if !json.Valid(plain) {
				t.Errorf("the answer is no JSON: %s", plain)
			}
			stream := ask(t, gateway.URL, c.path, c.body.streamed())
			if sent := <-r.bodies; !bytes.Equal(stream, sent) {
				t.Errorf("the stream is\n     %s\nsent %s", stream, sent)
			}
			if !strings.HasSuffix(string(stream), "\n\ndata: [DONE]\n\n") {
				t.Errorf("the stream ends with %q", stream[max(0, len(stream)-200):])
			}
			if got := completionTokens(t, stream); got == 0 {
				t.Errorf("the stream reports no tokens:\n%s", stream)
			}
			// The gateway asks for usage itself if the client does not: the client gets
			// what it would have got from the server.
			without := c.body.with(body{"stream": true})
			stream = ask(t, gateway.URL, c.path, without)
			if want, removed := withoutUsage(<-r.bodies); !bytes.Equal(stream, want) || removed != 1 {
				t.Errorf("the stream is\n     %s\nsent %s\nand %d events with usage, want one", stream, want, removed)
			}
			direct := ask(t, s.servers[0].URL, c.path, without)
			if got, want := bytes.Contains(stream, []byte(`"usage"`)), bytes.Contains(direct, []byte(`"usage"`)); got != want {
				t.Errorf("a stream through the gateway has usage: %t, one of the server: %t\n%s\n%s", got, want, stream, direct)
			}
		})
	}
}

// withoutUsage returns a stream without the events that have no choices, and their number.
func withoutUsage(stream []byte) (rest []byte, removed int) {
	for event := range bytes.SplitAfterSeq(stream, []byte("\n\n")) {
		if bytes.Contains(event, []byte(`"choices":[]`)) {
			removed++
		} else {
			rest = append(rest, event...)
		}
	}
	return rest, removed
}

// completionTokens returns the usage of the last event with usage.
func completionTokens(t *testing.T, stream []byte) (tokens int64) {
	t.Helper()
	for _, e := range events(t, stream) {
		var chunk completed
		decode(t, e, &chunk)
		if n := chunk.Usage.CompletionTokens; n > 0 {
			tokens = n
		}
	}
	return tokens
}

// events are the data of a stream's events before [DONE].
func events(t *testing.T, stream []byte) [][]byte {
	t.Helper()
	var all [][]byte
	for line := range bytes.Lines(stream) {
		data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data: "))
		if ok && string(data) != "[DONE]" {
			all = append(all, data)
		}
	}
	return all
}

// A tool is called with arguments that fit its schema, streamed or not.
func (s *suite) tools(t *testing.T) {
	gateway := s.serve(t)
	request := forcedTool(chat("Is it high tide?", 300))
	var plain completed
	decode(t, ask(t, gateway.URL, chatPath, request), &plain)
	if len(plain.Choices) != 1 || len(plain.Choices[0].Message.ToolCalls) != 1 {
		t.Fatalf("the answer is %+v, want one call", plain)
	}
	checkCall(t, plain.Choices[0].Message.ToolCalls[0])

	var streamed toolCall
	for _, e := range events(t, ask(t, gateway.URL, chatPath, request.streamed())) {
		var chunk struct {
			Choices []struct {
				Delta struct {
					ToolCalls []toolCall `json:"tool_calls"`
				}
			}
		}
		decode(t, e, &chunk)
		for _, choice := range chunk.Choices {
			for _, call := range choice.Delta.ToolCalls {
				streamed.Function.Name += call.Function.Name
				streamed.Function.Arguments += call.Function.Arguments
			}
		}
	}
	checkCall(t, streamed)
}

func checkCall(t *testing.T, call toolCall) {
	t.Helper()
	var arguments struct{ Place string }
	if err := json.Unmarshal([]byte(call.Function.Arguments), &arguments); err != nil || call.Function.Name != "tide" || arguments.Place != "quay" {
		t.Errorf("the call is %+v (%v), want tide with place quay", call, err)
	}
}

// logprobs checks that every token has a log probability, with the requested number of
// alternatives.
func (s *suite) logprobs(t *testing.T) {
	gateway := s.serve(t)
	const tokens, top = 12, 3
	var chatted completed
	decode(t, ask(t, gateway.URL, chatPath, chat("Why?", tokens).with(body{"logprobs": true, "top_logprobs": top})), &chatted)
	if got := chatted.Choices[0].Logprobs; got == nil || len(got.Content) != tokens || len(got.Content[0].TopLogprobs) < top {
		t.Errorf("a chat has %+v, want %d tokens with %d each", got, tokens, top)
	}
	var continued completed
	decode(t, ask(t, gateway.URL, completionsPath, completion("Why", tokens).with(body{"logprobs": top})), &continued)
	if got := continued.Choices[0].Logprobs; got == nil || len(got.Tokens) != tokens || len(got.TokenLogprobs) != tokens {
		t.Errorf("a completion has %+v, want %d tokens", got, tokens)
	}
}
