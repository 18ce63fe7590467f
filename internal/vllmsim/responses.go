package vllmsim

// The events of /v1/responses follow OpenAI's reference
// (https://platform.openai.com/docs/api-reference/responses-streaming): each
// has its type as the event's name, too, and there is no [DONE].

func appendResponse(dst []byte, a *answer) []byte {
	return a.appendResponseObject(dst, "completed")
}

// appendResponseObject appends the response, with output and usage only when it is
// completed.
func (a *answer) appendResponseObject(dst []byte, status string) []byte {
	done := status == "completed"
	if done && a.cut {
		status = "incomplete"
	}
	dst = append(dst, `{"id":"resp_`...)
	dst = append(dst, a.id[:]...)
	dst = append(dst, `","object":"response","created_at":`...)
	dst = appendInt(dst, int(a.created))
	dst = append(dst, `,"status":"`...)
	dst = append(dst, status...)
	dst = append(dst, `","background":false,"error":null,"incomplete_details":`...)
	if done && a.cut {
		dst = append(dst, `{"reason":"max_output_tokens"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"instructions":null,"metadata":null,"model":`...)
	dst = append(dst, a.model...)
	dst = append(dst, `,"output":[`...)
	if done {
		dst = a.appendOutputItem(dst, "completed", true)
	}
	dst = append(dst, `],"parallel_tool_calls":true,"temperature":1.0,"tool_choice":"auto","tools":[],"top_p":1.0,"usage":`...)
	if done && !a.noUsage {
		dst = append(dst, `{"input_tokens":`...)
		dst = appendInt(dst, a.prompt)
		dst = append(dst, `,"input_tokens_details":{"cached_tokens":`...)
		dst = appendInt(dst, a.cached)
		dst = append(dst, `},"output_tokens":`...)
		dst = appendInt(dst, a.tokens)
		dst = append(dst, `,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":`...)
		dst = appendInt(dst, a.prompt+a.tokens)
		dst = append(dst, '}')
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

func (a *answer) appendItemID(dst []byte) []byte {
	dst = append(dst, `"msg_`...)
	dst = append(dst, a.id[:]...)
	return append(dst, '"')
}

func (a *answer) appendOutputItem(dst []byte, status string, full bool) []byte {
	dst = append(dst, `{"id":`...)
	dst = a.appendItemID(dst)
	dst = append(dst, `,"content":[`...)
	if full {
		dst = a.appendOutputText(dst, true)
	}
	dst = append(dst, `],"role":"assistant","status":"`...)
	dst = append(dst, status...)
	return append(dst, `","type":"message"}`...)
}

func (a *answer) appendOutputText(dst []byte, full bool) []byte {
	dst = append(dst, `{"annotations":[],"text":`...)
	if full {
		dst = a.quoteContent(dst, 0)
	} else {
		dst = append(dst, `""`...)
	}
	return append(dst, `,"type":"output_text","logprobs":null}`...)
}

// appendEvent opens the event with this sequence number.
func appendEvent(dst []byte, name string, sequence int) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, name...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	dst = append(dst, name...)
	dst = append(dst, `","sequence_number":`...)
	return appendInt(dst, sequence)
}

const endEvent = "}\n\n"

const responseHeadEvents = 4

func appendResponseHead(dst []byte, a *answer) []byte {
	for i, name := range [...]string{"response.created", "response.in_progress"} {
		dst = appendEvent(dst, name, i)
		dst = append(dst, `,"response":`...)
		dst = a.appendResponseObject(dst, "in_progress")
		dst = append(dst, endEvent...)
	}
	dst = appendEvent(dst, "response.output_item.added", 2)
	dst = append(dst, `,"output_index":0,"item":`...)
	dst = a.appendOutputItem(dst, "in_progress", false)
	dst = append(dst, endEvent...)
	dst = a.appendContentEvent(dst, "response.content_part.added", 3)
	dst = append(dst, `,"part":`...)
	dst = a.appendOutputText(dst, false)
	return append(dst, endEvent...)
}

// appendContentEvent opens an event about the one content part.
func (a *answer) appendContentEvent(dst []byte, name string, sequence int) []byte {
	dst = appendEvent(dst, name, sequence)
	dst = append(dst, `,"output_index":0,"content_index":0,"item_id":`...)
	return a.appendItemID(dst)
}

func appendResponseToken(dst []byte, a *answer, i int) []byte {
	dst = a.appendContentEvent(dst, "response.output_text.delta", responseHeadEvents+i)
	dst = append(dst, `,"logprobs":[],"delta":`...)
	dst = a.quoteToken(dst, i, 0)
	return append(dst, endEvent...)
}

func appendResponseTail(dst []byte, a *answer) []byte {
	sequence := responseHeadEvents + a.tokens
	dst = a.appendContentEvent(dst, "response.output_text.done", sequence)
	dst = append(dst, `,"logprobs":[],"text":`...)
	dst = a.quoteContent(dst, 0)
	dst = append(dst, endEvent...)
	dst = a.appendContentEvent(dst, "response.content_part.done", sequence+1)
	dst = append(dst, `,"part":`...)
	dst = a.appendOutputText(dst, true)
	dst = append(dst, endEvent...)
	dst = appendEvent(dst, "response.output_item.done", sequence+2)
	dst = append(dst, `,"output_index":0,"item":`...)
	dst = a.appendOutputItem(dst, "completed", true)
	dst = append(dst, endEvent...)
	last := "response.completed"
	if a.cut {
		last = "response.incomplete"
	}
	dst = appendEvent(dst, last, sequence+3)
	dst = append(dst, `,"response":`...)
	dst = a.appendResponseObject(dst, "completed")
	return append(dst, endEvent...)
}
