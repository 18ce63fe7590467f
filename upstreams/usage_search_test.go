package upstreams

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/openai"
)

// The usage is found wherever it is and however the answer is cut. It finds answers that are
// free because their usage is followed by megabytes, a name or an object that is lost between
// two parts, and usage that is taken from text or hidden by what a client adds.
func TestUsageSearch(t *testing.T) {
	const usage = `"usage":{"prompt_tokens":30,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}`
	counted := usageOf(30, 4)
	counted.InputTokensDetails.CachedTokens = 2
	long := strings.Repeat("a", 2*usageLimit)
	for name, tt := range map[string]struct {
		answer string
		want   openai.Usage
	}{
		"last":              {`{"id":"x","text":"a",` + usage + `}`, counted},
		"first":             {`{` + usage + `,"results":[1,2]}`, counted},
		"far from the end":  {`{"a":1,` + usage + `,"prompt_logprobs":["` + long + `"]}`, counted},
		"far from both":     {`{"a":"` + long + `",` + usage + `,"prompt_logprobs":["` + long + `"]}`, counted},
		"spaces":            {"{\"a\":1,\"usage\" \t:\n {\"input_tokens\": 30}, \"b\":2}", usageOf(30, 0)},
		"none":              {`{"id":"x","usage":null}`, openai.Usage{}},
		"no counts":         {`{"usage":{},"a":[` + usage + `]}`, counted},
		"a string":          {`{"a":"usage","usage":"` + long + `",` + usage + `}`, counted},
		"in text":           {`{"text":"\"usage\":{\"prompt_tokens\":99}","b":"\\\"usage\":{\\\"prompt_tokens\\\":99}"}`, openai.Usage{}},
		"end of a name":     {`{"my\"usage":{"prompt_tokens":99},` + usage + `}`, counted},
		"nested, before":    {`{"tools":[{"usage":{"prompt_tokens":0,"type":"object"}}],` + usage + `}`, counted},
		"nested, behind":    {`{` + usage + `,"tools":[{"usage":{"prompt_tokens":0,"type":"object"}}]}`, counted},
		"nested, no counts": {`{` + usage + `,"tools":[{"usage":{"type":"object"}}]}`, counted},
		"too large":         {`{"usage":{"x":"` + long + `","prompt_tokens":1}}`, openai.Usage{}},
		"cut off":           {`{"usage":{"prompt_tokens":1`, openai.Usage{}},
		"empty":             {``, openai.Usage{}},
	} {
		check := func(parts ...string) {
			t.Helper()
			var s usageSearch
			for _, part := range parts {
				text := []byte(part)
				s.write(text)
				clear(text) // the buffer is used again
				if len(s.carry) > usageLimit+1 {
					t.Fatalf("%s: %d bytes are kept", name, len(s.carry))
				}
			}
			if s.usage != tt.want || s.found != (tt.want != openai.Usage{}) {
				t.Fatalf("%s, parts %s: got %+v (found %t), want %+v", name, short(strings.Join(parts, "|")), s.usage, s.found, tt.want)
			}
		}
		check(tt.answer)
		for i := range len(tt.answer) {
			if i > 0 && tt.answer[i] == 'a' && tt.answer[i-1] == 'a' && i%1000 > 0 {
				continue // inside of the long texts
			}
			check(tt.answer[:i], tt.answer[i:])
			check(tt.answer[:i], tt.answer[i:i+1], tt.answer[i+1:])
			check(tt.answer[:i], tt.answer[i:min(i+9, len(tt.answer))], tt.answer[min(i+9, len(tt.answer)):])
		}
		check(strings.Split(tt.answer, "")...)
	}
}

// Answers that are relayed in parts have the usage that the server reports in front of a
// large member. It finds answers that cost nothing because of what the client asks for.
func TestUsageBeforeLargeMember(t *testing.T) {
	for path, format := range map[string]string{
		endpoint:     `{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7},"prompt_logprobs":["%s"]}`,
		"/v1/rerank": `{"id":"x","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7},"results":["%s"]}`,
	} {
		f := newFake(t)
		set(&f.serve, answerStatus(http.StatusOK, "application/json", fmt.Sprintf(format, strings.Repeat("a", 2*wholeAnswer))))
		g := newGateway(t, startPool(t, calm(f.URL)))
		g.post(t, path, chatBody(model))
		if done := g.recorded(t, 1); !done.HasUsage || done.Estimated || done.Usage != usageOf(3, 4) {
			t.Errorf("%s: recorded %+v, want the usage", path, done)
		}
	}
}

func BenchmarkUsageSearch(b *testing.B) {
	for name, item := range map[string]string{"text": strings.Repeat("some words of text ", 20), "numbers": `{"token":"a","logprob":-0.123456,"rank":1},`} {
		b.Run(name, func(b *testing.B) {
			answer := []byte(strings.Repeat(item, 2<<20/len(item)))
			b.SetBytes(int64(len(answer)))
			b.ReportAllocs()
			for b.Loop() {
				var s usageSearch
				for at := 0; at < len(answer); at += 64 << 10 {
					s.write(answer[at:min(at+64<<10, len(answer))])
				}
			}
		})
	}
}
