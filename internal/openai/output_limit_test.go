package openai

import (
	"math"
	"testing"
)

// It finds limits beyond 2³¹ that count as no limit, so that nothing is reserved for them.
func TestOutputLimit(t *testing.T) {
	for _, tt := range []struct {
		body string
		want int
	}{
		{`{"model":"m","messages":[]}`, 0},
		{`{"max_tokens":100,"messages":[]}`, 100},
		{`{"messages":[],"max_completion_tokens": 7}`, 7},
		{`{"max_completion_tokens":7,"max_tokens":100}`, 7},
		{`{"max_tokens":100,"max_completion_tokens":7}`, 7},
		{`{"max_tokens":100,"max_completion_tokens":null}`, 100},
		{`{"max_output_tokens":12,"input":"x"}`, 12},
		{`{"max_tokens":1e3}`, 1000},
		{`{"max_tokens":-1}`, 0},
		{`{"max_tokens":0}`, 0},
		{`{"max_tokens":"100"}`, 0},
		{`{"max_tokens":2147483648}`, math.MaxInt32},
		{`{"max_tokens":99999999999999999999}`, math.MaxInt32},
		{`{"max_tokens":1e300}`, math.MaxInt32},
		{`{"max_tokens":1e999}`, math.MaxInt32},
		{`{"max_tokens":-1e999}`, 0},
		{`{"max_tokens":NaN}`, 0},
		{`{"metadata":{"max_tokens":3}}`, 0},
		{`{"messages":[{"role":"user","content":"\"max_tokens\":3"}]}`, 0},
		{`["max_tokens"]`, 0},
		{``, 0},
		{`{"max_tokens":5,"messages":[{"role":"user","content":"cut off,`, 5},
	} {
		if got := OutputLimit([]byte(tt.body)); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.body, got, tt.want)
		}
	}
}
