package openai

import (
	"errors"
	"math"
	"strconv"
)

// OutputLimit returns the number of tokens that a request limits each of its answers to,
// or 0 if it sets no limit. Chat completions have max_completion_tokens, which has
// precedence, or max_tokens, as completions have; responses have max_output_tokens
// (https://platform.openai.com/docs/api-reference).
func OutputLimit(body []byte) int {
	limit, _ := OutputLimits(body)
	return limit
}

// OutputLimits returns OutputLimit and AnswerTokens.
func OutputLimits(body []byte) (answer int, all int64) {
	answers := 1
	m := membersOf(body)
	for m.next() {
		switch string(m.name()) {
		case "max_completion_tokens", "max_output_tokens":
			if n := tokens(m.value); n > 0 {
				answer = n
			}
		case "max_tokens":
			if n := tokens(m.value); n > 0 && answer == 0 {
				answer = n
			}
		case "n":
			answers = max(1, tokens(m.value))
		}
	}
	return answer, min(int64(answer)*int64(answers), math.MaxInt32) // both are below 2³¹: it cannot overflow
}

// tokens returns a raw JSON number as a number of tokens, 0 if it is not one. Larger numbers
// than 2³¹-1 count as that: servers cut them to the length of their context.
func tokens(value []byte) int {
	n, err := strconv.ParseFloat(string(value), 64) // too large: infinite, with ErrRange
	if err != nil && !errors.Is(err, strconv.ErrRange) || !(n >= 1) {
		return 0
	}
	return int(min(n, math.MaxInt32))
}
