package vllmsim

// The shapes follow ChatCompletionLogProbs and CompletionLogProbs of
// vllm/entrypoints/openai/*/protocol.py.

// logprob returns the log probability of the alternative of that rank of the ith token of a choice.
func (a *answer) logprob(i, choice, rank int) float64 {
	return -a.unit(choice+2, i) - float64(rank)
}

// alternative appends the text of another token than the ith.
func (a *answer) alternative(dst []byte, i, rank int) []byte {
	return append(append(dst, ' '), vocabulary[(i+rank)%len(vocabulary)]...)
}

// appendChatLogprobs appends the logprobs of tokens of a chat, or null.
func (a *answer) appendChatLogprobs(dst []byte, from, to, choice int) []byte {
	if !a.req.logprobs {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"content":[`...)
	for i := from; i < to; i++ {
		if i > from {
			dst = append(dst, ',')
		}
		a.tmp = a.appendToken(a.tmp[:0], i, choice)
		dst = appendLogprob(dst, a.tmp, a.logprob(i, choice, 0))
		dst = append(dst, `,"top_logprobs":[`...)
		for rank := range max(0, a.req.topLogprobs) {
			if rank > 0 {
				dst = append(dst, ',')
				a.tmp = a.alternative(a.tmp[:0], i, rank)
			}
			dst = appendLogprob(dst, a.tmp, a.logprob(i, choice, rank))
			dst = append(dst, '}')
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...)
}

// appendLogprob opens the object of a token.
func appendLogprob(dst, token []byte, v float64) []byte {
	dst = append(dst, `{"token":`...)
	dst = quote(dst, token)
	dst = append(dst, `,"logprob":`...)
	dst = appendFloat(dst, v)
	dst = append(dst, `,"bytes":[`...)
	for i, c := range token {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendInt(dst, int(c))
	}
	return append(dst, ']')
}

// appendLogprobs appends the logprobs of tokens of a completion, or null.
func (a *answer) appendLogprobs(dst []byte, from, to, choice int) []byte {
	if !a.req.logprobs {
		return append(dst, "null"...)
	}
	list := func(name string, value func(i int)) {
		dst = append(dst, name...)
		for i := from; i < to; i++ {
			if i > from {
				dst = append(dst, ',')
			}
			value(i)
		}
		dst = append(dst, ']')
	}
	offset := 0
	for i := range from {
		offset += len(a.appendToken(a.tmp[:0], i, choice))
	}
	list(`{"text_offset":[`, func(i int) {
		dst = appendInt(dst, offset)
		offset += len(a.appendToken(a.tmp[:0], i, choice))
	})
	list(`,"token_logprobs":[`, func(i int) { dst = appendFloat(dst, a.logprob(i, choice, 0)) })
	list(`,"tokens":[`, func(i int) { dst = a.quoteToken(dst, i, choice) })
	list(`,"top_logprobs":[`, func(i int) {
		dst = append(dst, '{')
		dst = a.quoteToken(dst, i, choice)
		dst = appendFloat(append(dst, ':'), a.logprob(i, choice, 0))
		for rank := 1; rank < a.req.topLogprobs; rank++ {
			a.tmp = a.alternative(a.tmp[:0], i, rank)
			dst = quote(append(dst, ','), a.tmp)
			dst = appendFloat(append(dst, ':'), a.logprob(i, choice, rank))
		}
		dst = append(dst, '}')
	})
	return append(dst, '}')
}
