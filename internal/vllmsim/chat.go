package vllmsim

// The shapes of /v1/chat/completions and /v1/completions follow
// vllm/entrypoints/openai/chat_completion/protocol.py and …/completion/protocol.py.

const streamEnd = "data: [DONE]\n\n"

func appendChat(dst []byte, a *answer) []byte {
	dst = a.appendHead(dst, chatIDPrefix, "chat.completion")
	dst = append(dst, `,"choices":[`...)
	for c := range a.choices {
		dst = appendChoice(dst, c)
		dst = append(dst, `,"message":{"role":"assistant","content":`...)
		if a.req.call == "" {
			dst = a.quoteContent(dst, c)
		} else {
			dst = append(dst, "null"...)
		}
		dst = append(dst, `,"refusal":null,"annotations":null,"audio":null,"function_call":null`...)
		dst = a.appendCalls(dst, c)
		dst = append(dst, `},"logprobs":`...)
		dst = a.appendChatLogprobs(dst, 0, a.tokens, c)
		dst = append(dst, `,"finish_reason":`...)
		dst = append(dst, a.reason(`"length"`, a.whole())...)
		dst = append(dst, `,"stop_reason":null,"token_ids":null`...)
		if a.newer {
			dst = append(dst, `,"routed_experts":null`...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"service_tier":null,"system_fingerprint":null`...)
	dst = a.appendWholeUsage(dst)
	if a.newer {
		return append(dst, `,"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}`...)
	}
	return append(dst, `,"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}`...)
}

// appendChoice opens a choice, with a comma before all but the first.
func appendChoice(dst []byte, c int) []byte {
	if c > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `{"index":`...)
	return appendInt(dst, c)
}

// appendChunk opens an event up to its choices; the text before them is the
// same in all events of a stream.
func (a *answer) appendChunk(dst []byte, idPrefix, object string) []byte {
	if len(a.prefix) == 0 {
		a.prefix = append(a.prefix, "data: "...)
		a.prefix = a.appendHead(a.prefix, idPrefix, object)
		a.prefix = append(a.prefix, `,"choices":[`...)
	}
	return append(dst, a.prefix...)
}

// appendLast ends a stream: the chunk of usage, if asked for, and [DONE].
func (a *answer) appendLast(dst []byte, idPrefix, object string) []byte {
	if a.req.includeUsage && !a.noUsage {
		dst = a.appendChunk(dst, idPrefix, object)
		dst = append(dst, `]`...)
		dst = a.appendUsage(dst)
		dst = append(dst, "}\n\n"...)
	}
	return append(dst, streamEnd...)
}

const (
	chatIDPrefix  = "chatcmpl-"
	chatChunk     = "chat.completion.chunk"
	completionID  = "cmpl-"
	completionObj = "text_completion"
)

func appendChatHead(dst []byte, a *answer) []byte {
	for c := range a.choices {
		dst = a.appendChunk(dst, chatIDPrefix, chatChunk)
		dst = append(dst, `{"index":`...)
		dst = appendInt(dst, c)
		dst = append(dst, `,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}`+"\n\n"...)
	}
	return dst
}

func appendChatToken(dst []byte, a *answer, i int) []byte {
	for c := range a.choices {
		dst = a.appendChunk(dst, chatIDPrefix, chatChunk)
		dst = append(dst, `{"index":`...)
		dst = appendInt(dst, c)
		if a.req.call == "" {
			dst = append(dst, `,"delta":{"content":`...)
			dst = a.quoteToken(dst, i, c)
		} else {
			dst = append(dst, `,"delta":{"tool_calls":[`...)
			dst = a.appendCallDelta(dst, i, c)
			dst = append(dst, ']')
		}
		dst = append(dst, `},"logprobs":`...)
		dst = a.appendChatLogprobs(dst, i, i+1, c)
		dst = append(dst, `,"finish_reason":`...)
		dst = a.appendFinish(dst, i)
		dst = append(dst, `,"token_ids":null}]}`+"\n\n"...)
	}
	return dst
}

// appendFinish appends the value of finish_reason at the ith token, and
// stop_reason at the last.
func (a *answer) appendFinish(dst []byte, i int) []byte {
	if i < a.tokens-1 {
		return append(dst, "null"...)
	}
	dst = append(dst, a.reason(`"length"`, a.whole())...)
	return append(dst, `,"stop_reason":null`...)
}

func appendChatTail(dst []byte, a *answer) []byte {
	return a.appendLast(dst, chatIDPrefix, chatChunk)
}

func appendCompletion(dst []byte, a *answer) []byte {
	dst = a.appendHead(dst, completionID, completionObj)
	dst = append(dst, `,"choices":[`...)
	for c := range a.choices {
		dst = appendChoice(dst, c)
		dst = append(dst, `,"text":`...)
		dst = a.quoteContent(dst, c)
		dst = append(dst, `,"logprobs":`...)
		dst = a.appendLogprobs(dst, 0, a.tokens, c)
		dst = append(dst, `,"finish_reason":`...)
		dst = append(dst, a.reason(`"length"`, `"stop"`)...)
		dst = append(dst, `,"stop_reason":null,"token_ids":null,"prompt_logprobs":null,"prompt_token_ids":null`...)
		if a.newer {
			dst = append(dst, `,"routed_experts":null`...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"service_tier":null,"system_fingerprint":null`...)
	dst = a.appendWholeUsage(dst)
	if a.newer {
		return append(dst, `,"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}`...)
	}
	return append(dst, `,"kv_transfer_params":null}`...)
}

func appendCompletionHead(dst []byte, _ *answer) []byte { return dst }

func appendCompletionToken(dst []byte, a *answer, i int) []byte {
	for c := range a.choices {
		dst = a.appendChunk(dst, completionID, completionObj)
		dst = append(dst, `{"index":`...)
		dst = appendInt(dst, c)
		dst = append(dst, `,"text":`...)
		dst = a.quoteToken(dst, i, c)
		dst = append(dst, `,"logprobs":`...)
		dst = a.appendLogprobs(dst, i, i+1, c)
		dst = append(dst, `,"finish_reason":`...)
		dst = a.appendFinish(dst, i)
		dst = append(dst, `,"prompt_token_ids":null,"token_ids":null}],"usage":null}`+"\n\n"...)
	}
	return dst
}

func appendCompletionTail(dst []byte, a *answer) []byte {
	return a.appendLast(dst, completionID, completionObj)
}
