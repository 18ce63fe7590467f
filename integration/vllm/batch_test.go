package vllm

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

// lines makes a batch input of chats.
func lines(bodies []body) []byte {
	var b bytes.Buffer
	for i, line := range bodies {
		fmt.Fprintf(&b, `{"custom_id":%q,"method":"POST","url":%q,"body":%s}`+"\n", tidegatetest.CustomID(i), chatPath, line.json())
	}
	return b.Bytes()
}

// checkLines checks that every line of a batch that has ended has one result.
func checkLines(t *testing.T, g *tidegatetest.Gateway, b openai.Batch, input []byte) tidegatetest.Results {
	t.Helper()
	results, problems := tidegatetest.CompareLines(input, g.Content(t, b.OutputFileID), g.Content(t, b.ErrorFileID))
	for _, problem := range problems[:min(len(problems), 10)] {
		t.Error(problem)
	}
	return results
}

// batchLimit limits the time of a thousand short lines.
const batchLimit = 5 * time.Minute

// Every line of a batch runs once: the tokens of its results are those that the
// engines counted, and those that the batch reports.
func (s *suite) batch(t *testing.T) {
	gateway := s.serve(t)
	const n = 1000
	bodies := make([]body, n)
	for i := range bodies {
		bodies[i] = chat(fmt.Sprintf("What does line %d of the batch bring?", i), 4+i%13)
	}
	input := lines(bodies)
	before := metrics(t, s.servers...)
	b := gateway.WaitEnd(t, gateway.Submit(t, input).ID, batchLimit)
	results := checkLines(t, gateway, b, input)
	if b.Status != "completed" || b.RequestCounts.Completed != n || len(results.Output) != n {
		t.Fatalf("the batch is %s with %+v and %d results", b.Status, b.RequestCounts, len(results.Output))
	}
	var sum openai.Usage
	for _, r := range results.Output {
		var c completed
		decode(t, r.Response.Body, &c)
		sum.InputTokens += c.Usage.PromptTokens
		sum.OutputTokens += c.Usage.CompletionTokens
		sum.InputTokensDetails.CachedTokens += c.Usage.PromptTokensDetails.CachedTokens
	}
	sum.TotalTokens = sum.InputTokens + sum.OutputTokens
	if b.Usage != sum {
		t.Errorf("the batch reports %+v, its results %+v", b.Usage, sum)
	}
	// The counters come a step after the answers.
	var prompt, generated int64
	if !tidegatetest.Poll(10*time.Second, func() bool {
		after := metrics(t, s.servers...)
		prompt = int64(after[promptTokens] - before[promptTokens])
		generated = int64(after[generationTokens] - before[generationTokens])
		return prompt >= sum.InputTokens && generated >= sum.OutputTokens
	}) || prompt != sum.InputTokens || generated != sum.OutputTokens {
		t.Errorf("the engines counted %d prompt tokens and %d generated, the results have %d and %d",
			prompt, generated, sum.InputTokens, sum.OutputTokens)
	}
	t.Logf("%d lines: %d prompt tokens, %d generated, at both the results and the engines", n, prompt, generated)
}
