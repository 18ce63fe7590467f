package openai

import "math"

// PromptTokens estimates the tokens of a prompt by the bytes of its request: four bytes are
// a token (https://help.openai.com/en/articles/4936856).
func PromptTokens(bytes int64) int64 { return bytes/4 + 1 }

// AnswerTokens returns the most tokens that a request may generate, 0 if it sets no limit:
// OutputLimit for each of its n answers.
func AnswerTokens(body []byte) int64 {
	limit := OutputLimit(body)
	if limit == 0 {
		return 0
	}
	answers := 1
	m := membersOf(body)
	for m.next() {
		if string(m.name()) == "n" {
			answers = max(1, tokens(m.value))
		}
	}
	return min(int64(limit)*int64(answers), math.MaxInt32) // both are below 2³¹: it cannot overflow
}
