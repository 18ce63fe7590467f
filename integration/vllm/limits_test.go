package vllm

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/vllmtest"
)

// A second request with the same beginning reports the tokens found in
// the prefix cache. The cache has whole blocks only, of 128 tokens here.
func (s *suite) cachedTokens(t *testing.T) {
	gateway := s.serve(t, s.servers[0])
	prefix := strings.Repeat("The tide comes in and the tide goes out. ", 40)
	var first, second completed
	decode(t, ask(t, gateway.URL, chatPath, chat(prefix+"When?", 4)), &first)
	decode(t, ask(t, gateway.URL, chatPath, chat(prefix+"Where?", 4)), &second)
	if n := first.Usage.PromptTokensDetails.CachedTokens; n != 0 {
		t.Errorf("the first request has %d cached tokens, want 0", n)
	}
	if n := second.Usage.PromptTokensDetails.CachedTokens; n < 128 || n >= second.Usage.PromptTokens {
		t.Errorf("the second request has %d cached tokens of %d", n, second.Usage.PromptTokens)
	}
	t.Logf("%d of %d prompt tokens were cached", second.Usage.PromptTokensDetails.CachedTokens, second.Usage.PromptTokens)
}

// The server's refusal of a prompt that is too long reaches the client, and is the
// result of a line; the server stays up.
func (s *suite) contextLength(t *testing.T) {
	gateway := s.serve(t)
	long := chat(strings.Repeat("tide ", vllmtest.MaxModelLen+1), 4)
	const want = "maximum context length is 2048 tokens"
	for _, b := range []body{long, long.streamed()} {
		got, err := post(t.Context(), gateway.URL, chatPath, b)
		if err != nil || got.status != http.StatusBadRequest || !strings.Contains(string(got.body), want) {
			t.Errorf("the answer is %d, %v: %s; want 400 with %q", got.status, err, got.body, want)
		}
	}
	input := lines([]body{chat("Before.", 4), long, chat("After.", 4)})
	b := gateway.WaitEnd(t, gateway.Submit(t, input).ID, time.Minute)
	results := checkLines(t, gateway, b, input)
	failed, ok := results.Errors[tidegatetest.CustomID(1)]
	switch {
	case !ok || len(results.Errors) != 1:
		t.Errorf("failed lines are %+v, want the second", results.Errors)
	case failed.Response == nil || failed.Response.StatusCode != http.StatusBadRequest || !strings.Contains(string(failed.Response.Body), want):
		t.Errorf("the failed line is %+v, want the server's 400 with %q", failed, want)
	}
	for _, u := range upstreams(t, gateway) {
		if u.State != "up" {
			t.Errorf("a server that refused a prompt is %+v", u)
		}
	}
}
