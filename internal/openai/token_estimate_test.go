package openai

import (
	"math"
	"testing"
)

// It finds a large max_tokens or n for which nothing is reserved, and products that overflow.
func TestAnswerTokens(t *testing.T) {
	for body, want := range map[string]int64{
		`{}`:                                    0,
		`{"max_tokens":100}`:                    100,
		`{"n":3,"max_completion_tokens":100}`:   300,
		`{"n":0,"max_tokens":5}`:                5,
		`{"n":null,"max_tokens":5}`:             5,
		`{"n":9e9,"max_tokens":2000000000}`:     math.MaxInt32,
		`{"n":9e9,"max_tokens":3}`:              math.MaxInt32,
		`{"n":1e300,"max_tokens":1e300}`:        math.MaxInt32,
		`{"max_tokens":3000000000}`:             math.MaxInt32,
		`{"n":1000,"max_tokens":2000000000}`:    math.MaxInt32,
		`{"n":3}`:                               0,
		`{"messages":[{"n":7}],"max_tokens":5}`: 5,
	} {
		if got := AnswerTokens([]byte(body)); got != want {
			t.Errorf("%s: got %d, want %d", body, got, want)
		}
	}
}
