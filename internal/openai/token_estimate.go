package openai

// PromptTokens estimates the tokens of a prompt by the bytes of its request: four bytes are
// a token (https://help.openai.com/en/articles/4936856).
func PromptTokens(bytes int64) int64 { return bytes/4 + 1 }

// AnswerTokens returns the most tokens that a request may generate, 0 if it sets no limit:
// OutputLimit for each of its n answers.
func AnswerTokens(body []byte) int64 {
	_, all := OutputLimits(body)
	return all
}
