package openai

import (
	"math"
	"testing"
)

func TestAnswerTokens(t *testing.T) {
	for body, want := range map[string]int64{
		`{}`:                                    0,
		`{"max_tokens":100}`:                    100,
		`{"n":3,"max_completion_tokens":100}`:   300,
		`{"n":0,"max_tokens":5}`:                5,
		`{"n":null,"max_tokens":5}`:             5,
		`{"n":9e9,"max_tokens":2000000000}`:     2000000000,
		`{"n":1000,"max_tokens":2000000000}`:    math.MaxInt32,
		`{"n":3}`:                               0,
		`{"messages":[{"n":7}],"max_tokens":5}`: 5,
	} {
		if got := AnswerTokens([]byte(body)); got != want {
			t.Errorf("%s: got %d, want %d", body, got, want)
		}
	}
}
