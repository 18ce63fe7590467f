package vllmsim

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"
)

// The shapes here follow vllm/entrypoints/pooling/*/protocol.py.

const (
	defaultDimensions = 16
	maxDimensions     = 4096
)

// appendVector appends the embedding of the ith input, each number in [-1,1).
func (a *answer) appendVector(dst []byte, i int) []byte {
	dims := a.req.dimensions
	if dims == 0 {
		dims = defaultDimensions
	}
	dims = min(dims, maxDimensions)
	if a.req.base64 {
		a.tmp = a.tmp[:0]
		for d := range dims {
			a.tmp = binary.LittleEndian.AppendUint32(a.tmp, math.Float32bits(float32(2*a.unit(i, d)-1)))
		}
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, a.tmp)
		return append(dst, '"')
	}
	dst = append(dst, '[')
	for d := range dims {
		if d > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, 2*a.unit(i, d)-1)
	}
	return append(dst, ']')
}

// items returns the number of results in the answer. Messages are one input together.
func (a *answer) items() int {
	if a.req.has&hasMessages != 0 && a.req.has&hasInput == 0 {
		return 1
	}
	return len(a.req.inputs)
}

func appendEmbeddings(dst []byte, a *answer) []byte {
	return a.appendVectors(dst, "embd-", "embedding", "embedding")
}

func appendPooling(dst []byte, a *answer) []byte {
	return a.appendVectors(dst, "pool-", "pooling", "data")
}

func (a *answer) appendVectors(dst []byte, idPrefix, object, member string) []byte {
	dst = a.appendHead(dst, idPrefix, "list")
	dst = append(dst, `,"data":[`...)
	for i := range a.items() {
		dst = appendChoice(dst, i)
		dst = append(dst, `,"object":"`...)
		dst = append(dst, object...)
		dst = append(dst, `","`...)
		dst = append(dst, member...)
		dst = append(dst, `":`...)
		dst = a.appendVector(dst, i)
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	dst = a.appendUsage(dst)
	return append(dst, '}')
}

func appendClassify(dst []byte, a *answer) []byte {
	dst = a.appendHead(dst, "classify-", "list")
	dst = append(dst, `,"data":[`...)
	for i := range a.items() {
		p := a.unit(i, 0)
		dst = appendChoice(dst, i)
		if p > 0.5 {
			dst = append(dst, `,"label":"LABEL_1","probs":[`...)
		} else {
			dst = append(dst, `,"label":"LABEL_0","probs":[`...)
		}
		dst = appendFloat(dst, 1-p)
		dst = append(dst, ',')
		dst = appendFloat(dst, p)
		dst = append(dst, `],"num_classes":2}`...)
	}
	dst = append(dst, ']')
	dst = a.appendUsage(dst)
	return append(dst, '}')
}

func appendScore(dst []byte, a *answer) []byte {
	dst = a.appendHead(dst, "score-", "list")
	dst = append(dst, `,"data":[`...)
	for i := range a.items() {
		dst = appendChoice(dst, i)
		dst = append(dst, `,"object":"score","score":`...)
		dst = appendFloat(dst, a.unit(i, 0))
		dst = append(dst, '}')
	}
	dst = append(dst, ']')
	dst = a.appendUsage(dst)
	return append(dst, '}')
}

// appendRerank lists documents by falling relevance, the first top_n of them.
func appendRerank(dst []byte, a *answer) []byte {
	order := make([]int, a.items())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(a.unit(j, 0), a.unit(i, 0)) })
	if n := a.req.topN; n > 0 && n < len(order) {
		order = order[:n]
	}
	dst = append(dst, `{"id":"rerank-`...)
	dst = append(dst, a.id[:]...)
	dst = append(dst, `","model":`...)
	dst = append(dst, a.model...)
	if !a.noUsage {
		dst = append(dst, `,"usage":{"prompt_tokens":`...)
		dst = appendInt(dst, a.prompt)
		dst = append(dst, `,"total_tokens":`...)
		dst = appendInt(dst, a.prompt)
		dst = append(dst, '}')
	}
	dst = append(dst, `,"results":[`...)
	for at, i := range order {
		if at > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"index":`...)
		dst = appendInt(dst, i)
		dst = append(dst, `,"document":{"text":`...)
		// An element's span may begin with the comma before it.
		if doc := bytes.TrimLeft(a.req.slice(a.req.inputs[i]), ", \t\r\n"); doc[0] == '"' {
			dst = append(dst, doc...)
			dst = append(dst, `,"multi_modal":null`...)
		} else {
			dst = append(dst, `null,"multi_modal":`...)
			dst = append(dst, doc...)
		}
		dst = append(dst, `},"relevance_score":`...)
		dst = appendFloat(dst, a.unit(i, 0))
		dst = append(dst, '}')
	}
	return append(dst, "]}"...)
}

// moderationCategories are OpenAI's
// (https://platform.openai.com/docs/api-reference/moderations/object).
var moderationCategories = [...]string{
	"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent",
	"self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
}

// appendModeration flags what scores above 0.95 in a category.
func appendModeration(dst []byte, a *answer) []byte {
	dst = append(dst, `{"id":"modr-`...)
	dst = append(dst, a.id[:]...)
	dst = append(dst, `","model":`...)
	dst = append(dst, a.model...)
	dst = append(dst, `,"results":[`...)
	for i := range a.items() {
		if i > 0 {
			dst = append(dst, ',')
		}
		flagged := false
		for c := range moderationCategories {
			flagged = flagged || a.flags(i, c)
		}
		dst = append(dst, `{"flagged":`...)
		dst = appendBool(dst, flagged)
		dst = append(dst, `,"categories":{`...)
		for c, name := range moderationCategories {
			dst = appendMember(dst, c, name)
			dst = appendBool(dst, a.flags(i, c))
		}
		dst = append(dst, `},"category_scores":{`...)
		for c, name := range moderationCategories {
			dst = appendMember(dst, c, name)
			dst = appendFloat(dst, a.unit(i, c))
		}
		dst = append(dst, "}}"...)
	}
	return append(dst, "]}"...)
}

func (a *answer) flags(input, category int) bool { return a.unit(input, category) > 0.95 }

// appendMember opens the ith member of an object.
func appendMember(dst []byte, i int, name string) []byte {
	if i > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, `":`...)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// appendTranscription is OpenAI's shape for audio; its text has no echo.
func appendTranscription(dst []byte, a *answer) []byte {
	dst = append(dst, `{"text":`...)
	dst = a.quoteContent(dst, 0)
	if !a.noUsage {
		dst = append(dst, `,"usage":{"type":"duration","seconds":1}`...)
	}
	return append(dst, '}')
}
