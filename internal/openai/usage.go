package openai

// ScanUsage finds the members `usage` and `model` of a JSON answer, in the
// names of chat completions, completions and embeddings (prompt_tokens …), of
// responses (input_tokens …) or of Anthropic's messages. ok reports whether there
// was any count. A count that is no whole number from 0 to 2⁴⁰ is taken as
// absent, an absent one as 0; an absent total is the sum of input and output.
//
// Anthropic's input_tokens leaves out what the cache gave or took
// (https://platform.claude.com/docs/en/build-with-claude/prompt-caching), and
// vLLM does the same (its pull request 40912); here, as in OpenAI's, InputTokens
// is all of the input and CachedTokens a part of it.
func ScanUsage(body []byte) (u Usage, model string, ok bool) {
	var c counts
	var rawModel []byte
	for m := membersOf(body); m.next(); {
		switch string(m.name()) {
		case "usage":
			c = scanCounts(m.value)
		case "model":
			rawModel = m.value
		}
	}
	u, ok = c.usage()
	return u, unquote(rawModel), ok
}

// count is a number of tokens, one more than it is, so that zero is absent.
type count int64

// value is the number, 0 when it is absent.
func (c count) value() int64 { return int64(max(c, 1) - 1) }

// counts are the members of a usage object.
type counts struct {
	input, output, total  count
	cached, reasoning     count
	cacheRead, cacheWrite count // Anthropic's
}

// maxCount bounds a count, so that sums of them over any batch fit.
const maxCount = 1 << 40

// scanCounts parses a raw usage object. Other values have no counts.
func scanCounts(raw []byte) (c counts) {
	for m := membersOf(raw); m.next(); {
		switch string(m.name()) {
		case "prompt_tokens", "input_tokens":
			c.input.scan(m.value)
		case "completion_tokens", "output_tokens":
			c.output.scan(m.value)
		case "total_tokens":
			c.total.scan(m.value)
		case "cache_read_input_tokens":
			c.cacheRead.scan(m.value)
		case "cache_creation_input_tokens":
			c.cacheWrite.scan(m.value)
		case "prompt_tokens_details", "input_tokens_details":
			c.cached.scanMember(m.value, "cached_tokens")
		case "completion_tokens_details", "output_tokens_details":
			c.reasoning.scanMember(m.value, "reasoning_tokens")
		}
	}
	return c
}

// scan sets c to a raw number, if it is valid.
func (c *count) scan(raw []byte) {
	var n int64
	for _, digit := range raw {
		if digit < '0' || digit > '9' {
			return
		}
		if n = n*10 + int64(digit-'0'); n > maxCount {
			return
		}
	}
	*c = count(n + 1)
}

// scanMember sets c to a member of a raw object.
func (c *count) scanMember(raw []byte, name string) {
	for m := membersOf(raw); m.next(); {
		if string(m.name()) == name {
			c.scan(m.value)
		}
	}
}

// overlay replaces the counts that newer has.
func (c *counts) overlay(newer counts) {
	for _, field := range []struct{ old, newer *count }{
		{&c.input, &newer.input},
		{&c.output, &newer.output},
		{&c.total, &newer.total},
		{&c.cached, &newer.cached},
		{&c.reasoning, &newer.reasoning},
		{&c.cacheRead, &newer.cacheRead},
		{&c.cacheWrite, &newer.cacheWrite},
	} {
		if *field.newer != 0 {
			*field.old = *field.newer
		}
	}
}

// usage returns the usage of the counts, and whether there is any count.
func (c counts) usage() (u Usage, ok bool) {
	if c == (counts{}) {
		return Usage{}, false
	}
	u.InputTokens = c.input.value() + c.cacheRead.value() + c.cacheWrite.value()
	u.InputTokensDetails.CachedTokens = max(c.cached, c.cacheRead).value()
	u.OutputTokens = c.output.value()
	u.OutputTokensDetails.ReasoningTokens = c.reasoning.value()
	u.TotalTokens = c.total.value()
	if c.total == 0 {
		u.TotalTokens = u.InputTokens + u.OutputTokens
	}
	return u, true
}
