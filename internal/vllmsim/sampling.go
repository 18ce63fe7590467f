package vllmsim

import (
	"strconv"
)

// limits are vLLM's limits of a sampling parameter
// (vllm/sampling_params.py, _verify_args).
type limits struct {
	lowest, highest float64
	open            bool   // lowest itself is refused
	want            string // in vLLM's words
}

var sampling = map[string]limits{
	"temperature":        {0, 2, false, "in [0, 2]"},
	"top_p":              {0, 1, true, "in (0, 1]"},
	"min_p":              {0, 1, false, "in [0, 1]"},
	"top_k":              {-1, 1 << 31, false, "0 (disable), or at least 1"},
	"presence_penalty":   {-2, 2, false, "in [-2, 2]"},
	"frequency_penalty":  {-2, 2, false, "in [-2, 2]"},
	"repetition_penalty": {0, 1 << 31, true, "greater than zero"},
}

// sampling checks a parameter that is not used.
func (p *parser) sampling(name string, l limits) error {
	switch p.dec.PeekKind() {
	case 'n':
		return p.dec.SkipValue()
	case '0':
		raw, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		v, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || v < l.lowest || v > l.highest || l.open && v == l.lowest {
			return badRequest(name, "%s must be %s, got %s.", name, l.want, raw)
		}
		return nil
	}
	return p.wrongType(invalidField("float_type", name, "Input should be a valid number"))
}

// logprobs reads what is a boolean in chats and a number of alternatives in
// completions.
func (p *parser) logprobs() error {
	r := p.req
	if p.dec.PeekKind() != '0' {
		return p.boolean("logprobs", &r.logprobs)
	}
	r.logprobs = true
	return p.integer("logprobs", 0, &r.topLogprobs)
}

// mostLogprobs is vLLM's default of --max-logprobs.
const mostLogprobs = 20

// checkSampling refuses parameters that do not go together.
func checkSampling(r *request) error {
	switch {
	case r.topLogprobs > 0 && !r.logprobs:
		return badRequest("top_logprobs", "when using `top_logprobs`, `logprobs` must be set to true.")
	case r.topLogprobs > mostLogprobs:
		return badRequest("logprobs", "Requested sample logprobs of %d, which is greater than max allowed: %d", r.topLogprobs, mostLogprobs)
	case r.maxTokens > 0 && r.minTokens > r.maxTokens:
		return badRequest("", "min_tokens must be less than or equal to max_tokens=%d, got %d.", r.maxTokens, r.minTokens)
	}
	return nil
}
