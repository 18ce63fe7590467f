package vllmsim

// The shapes of /v1/messages follow vllm/entrypoints/anthropic/protocol.py.
// vLLM adds "data: [DONE]" behind message_stop, which Anthropic does not.

func (a *answer) appendMessageHead(dst []byte) []byte {
	dst = append(dst, `{"id":"msg_`...)
	dst = append(dst, a.id[:]...)
	dst = append(dst, `","type":"message","role":"assistant","content":[`...)
	return dst
}

func (a *answer) appendMessageUsage(dst []byte, output int) []byte {
	if a.noUsage {
		return dst
	}
	dst = append(dst, `,"usage":{"input_tokens":`...)
	dst = appendInt(dst, a.prompt-a.cached)
	dst = append(dst, `,"output_tokens":`...)
	dst = appendInt(dst, output)
	dst = append(dst, `,"cache_read_input_tokens":`...)
	dst = appendInt(dst, a.cached)
	return append(dst, '}')
}

func appendMessage(dst []byte, a *answer) []byte {
	dst = a.appendMessageHead(dst)
	dst = append(dst, `{"type":"text","text":`...)
	dst = a.quoteContent(dst, 0)
	dst = append(dst, `}],"model":`...)
	dst = append(dst, a.model...)
	dst = append(dst, `,"stop_reason":`...)
	dst = append(dst, a.reason(`"max_tokens"`, `"end_turn"`)...)
	dst = append(dst, `,"stop_sequence":null`...)
	dst = a.appendMessageUsage(dst, a.tokens)
	return append(dst, '}')
}

// appendNamed opens an event of /v1/messages.
func appendNamed(dst []byte, name string) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	dst = append(dst, name...)
	return append(dst, '"')
}

func appendMessageHead(dst []byte, a *answer) []byte {
	dst = appendNamed(dst, "message_start")
	dst = append(dst, `,"message":`...)
	dst = a.appendMessageHead(dst)
	dst = append(dst, `],"model":`...)
	dst = append(dst, a.model...)
	dst = append(dst, `,"stop_reason":null,"stop_sequence":null`...)
	dst = a.appendMessageUsage(dst, 0)
	dst = append(dst, "}}\n\n"...)
	dst = appendNamed(dst, "content_block_start")
	return append(dst, `,"index":0,"content_block":{"type":"text","text":""}}`+"\n\n"...)
}

func appendMessageToken(dst []byte, a *answer, i int) []byte {
	dst = appendNamed(dst, "content_block_delta")
	dst = append(dst, `,"index":0,"delta":{"type":"text_delta","text":`...)
	dst = a.quoteToken(dst, i, 0)
	return append(dst, "}}\n\n"...)
}

func appendMessageTail(dst []byte, a *answer) []byte {
	dst = appendNamed(dst, "content_block_stop")
	dst = append(dst, `,"index":0}`+"\n\n"...)
	dst = appendNamed(dst, "message_delta")
	dst = append(dst, `,"delta":{"stop_reason":`...)
	dst = append(dst, a.reason(`"max_tokens"`, `"end_turn"`)...)
	dst = append(dst, `,"stop_sequence":null}`...)
	dst = a.appendMessageUsage(dst, a.tokens)
	dst = append(dst, endEvent...)
	dst = appendNamed(dst, "message_stop")
	dst = append(dst, endEvent...)
	return append(dst, streamEnd...)
}
