package openai

import (
	"strings"
	"testing"
)

func usageOf(input, cached, output, reasoning, total int64) Usage {
	return Usage{
		InputTokens: input, InputTokensDetails: InputTokensDetails{cached},
		OutputTokens: output, OutputTokensDetails: OutputTokensDetails{reasoning},
		TotalTokens: total,
	}
}

func TestScanUsage(t *testing.T) {
	tests := map[string]struct {
		body  string
		want  Usage
		model string
		none  bool
	}{
		"chat completion": {
			body: `{"id":"x","model":"m","choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":9}"}}],"usage":{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":3}}}`,
			want: usageOf(10, 4, 5, 3, 15), model: "m",
		},
		"details null":     {body: `{"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":null,"completion_tokens_details":null}}`, want: usageOf(10, 0, 5, 0, 15)},
		"embeddings":       {body: `{"object":"list","data":[{"embedding":[0.1,-2e-3]}],"model":"e","usage":{"prompt_tokens":8,"total_tokens":8}}`, want: usageOf(8, 0, 0, 0, 8), model: "e"},
		"responses":        {body: `{"model":"m","output":[],"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":2,"x":1},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":13}}`, want: usageOf(7, 2, 6, 1, 13), model: "m"},
		"messages":         {body: `{"type":"message","model":"m","usage":{"input_tokens":7,"output_tokens":6}}`, want: usageOf(7, 0, 6, 0, 13), model: "m"},
		"messages, cached": {body: `{"model":"m","usage":{"input_tokens":7,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":6}}`, want: usageOf(127, 100, 6, 0, 133), model: "m"},
		"messages, nulls":  {body: `{"model":"m","usage":{"input_tokens":7,"cache_read_input_tokens":null,"cache_creation_input_tokens":null,"output_tokens":6}}`, want: usageOf(7, 0, 6, 0, 13), model: "m"},
		"no total":         {body: `{"usage":{"prompt_tokens":10,"completion_tokens":5}}`, want: usageOf(10, 0, 5, 0, 15)},
		"total zero":       {body: `{"usage":{"prompt_tokens":10,"total_tokens":0}}`, want: usageOf(10, 0, 0, 0, 0)},
		"only zeros":       {body: `{"usage":{"prompt_tokens":0}}`},
		"spaces":           {body: " { \"usage\" : { \"prompt_tokens\" : 1 , \"total_tokens\" : 1 } } ", want: usageOf(1, 0, 0, 0, 1)},
		"escaped names":    {body: `{"us\u0061ge":{"prompt\u005ftokens":1},"m\u006fdel":"\u0041"}`, want: usageOf(1, 0, 0, 0, 1), model: "A"},

		"no usage":               {body: `{"model":"m"}`, model: "m", none: true},
		"usage null":             {body: `{"usage":null}`, none: true},
		"usage empty":            {body: `{"usage":{}}`, none: true},
		"usage a number":         {body: `{"usage":5}`, none: true},
		"usage a string":         {body: `{"usage":"{\"prompt_tokens\":1}"}`, none: true},
		"usage an array":         {body: `{"usage":[{"prompt_tokens":1}]}`, none: true},
		"usage nested":           {body: `{"choices":[{"usage":{"prompt_tokens":1}}]}`, none: true},
		"model a number":         {body: `{"model":5,"usage":{"prompt_tokens":1}}`, want: usageOf(1, 0, 0, 0, 1)},
		"negative":               {body: `{"usage":{"prompt_tokens":-1,"completion_tokens":2}}`, want: usageOf(0, 0, 2, 0, 2)},
		"fraction":               {body: `{"usage":{"prompt_tokens":1.5,"completion_tokens":2}}`, want: usageOf(0, 0, 2, 0, 2)},
		"exponent":               {body: `{"usage":{"prompt_tokens":1e3,"completion_tokens":2}}`, want: usageOf(0, 0, 2, 0, 2)},
		"huge":                   {body: `{"usage":{"prompt_tokens":99999999999999999999999999,"completion_tokens":2,"total_tokens":1099511627777}}`, want: usageOf(0, 0, 2, 0, 2)},
		"as large as counted":    {body: `{"usage":{"prompt_tokens":1099511627776}}`, want: usageOf(1<<40, 0, 0, 0, 1<<40)},
		"strings":                {body: `{"usage":{"prompt_tokens":"1","completion_tokens":true,"total_tokens":[3]}}`, none: true},
		"details of wrong types": {body: `{"usage":{"prompt_tokens":1,"prompt_tokens_details":[{"cached_tokens":5}],"completion_tokens_details":"x"}}`, want: usageOf(1, 0, 0, 0, 1)},
		"empty body":             {body: ``, none: true},
		"not JSON":               {body: `<html>`, none: true},
		"array":                  {body: `[{"usage":{"prompt_tokens":1}}]`, none: true},
		"cut in usage":           {body: `{"model":"m","usage":{"prompt_tokens":1`, model: "m", none: true},
		"depth bomb":             {body: `{"a":` + strings.Repeat(`{"a":`, 1<<20), none: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, model, ok := ScanUsage([]byte(test.body))
			if got != test.want || model != test.model || ok == test.none {
				t.Errorf("got %+v, %q, %v; want %+v, %q, %v", got, model, ok, test.want, test.model, !test.none)
			}
		})
	}
}

func FuzzScanUsage(f *testing.F) {
	f.Add([]byte(`{"model":"m","usage":{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":4}}}`))
	f.Add([]byte(`{"usage":{"a":[}"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		u, _, ok := ScanUsage(body)
		if !ok && u != (Usage{}) {
			t.Fatalf("got %+v and no usage", u)
		}
		for _, n := range []int64{u.InputTokens, u.InputTokensDetails.CachedTokens, u.OutputTokens, u.OutputTokensDetails.ReasoningTokens, u.TotalTokens} {
			if n < 0 || n > 4*maxCount {
				t.Fatalf("got %+v", u)
			}
		}
	})
}

func BenchmarkScanUsage(b *testing.B) {
	chat := []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1763900000,"model":"Qwen/Qwen2.5-7B-Instruct","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat(`Natalia sold 48/2 = 24 clips in May.\n`, 40) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"total_tokens":400,"completion_tokens":300}}`)
	embedding := []byte(`{"object":"list","model":"e","data":[{"embedding":[` + strings.Repeat("-0.012345678,", 4096) + `0]}],"usage":{"prompt_tokens":100,"total_tokens":100}}`)
	for name, body := range map[string][]byte{"chat": chat, "embedding": embedding} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, _, ok := ScanUsage(body); !ok {
					b.Fatal("no usage")
				}
			}
		})
	}
}
