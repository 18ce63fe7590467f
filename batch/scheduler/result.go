package scheduler

import (
	"encoding/json"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// answered returns the result of a line with an answer.
func (a *attempt) answered(answer batch.Answer, body []byte) batch.LineResult {
	id := batch.RequestID(a.batchID, a.number)
	upstreamID := answer.RequestID
	if upstreamID == "" {
		upstreamID = id
	}
	usage, _, _ := openai.ScanUsage(body)
	return batch.LineResult{
		Index: a.index, Failed: !success(answer.Status), Model: a.request.Model, Usage: usage,
		Record:   openai.AppendResponseLine(nil, id, a.request.CustomID, answer.Status, upstreamID, body),
		LineInfo: a.info,
	}
}

// unanswered returns the result of a line without an answer.
func (a *attempt) unanswered(code, message string) batch.LineResult {
	id := batch.RequestID(a.batchID, a.number)
	return batch.LineResult{
		Index: a.index, Failed: true, Model: a.request.Model,
		Record:   openai.AppendErrorLine(nil, id, a.request.CustomID, code, message),
		LineInfo: a.info,
	}
}

// wrapLimit limits how much of an error page is kept in a result.
const wrapLimit = 4 << 10

// wrapAnswer returns the error envelope for a body that is not JSON.
func wrapAnswer(body []byte) []byte {
	text := string(body[:min(len(body), wrapLimit)])
	wrapped, err := json.Marshal(openai.BadGateway("The server answered with something that is not JSON: %s", text))
	if err != nil { // strings always marshal
		panic(err)
	}
	return wrapped
}
