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
// engines counted, and those that the batch reports. The engines may have counted more
// for lines that they began just before the gateway withdrew them, because they
// waited.
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
	var sum, most openai.Usage // most: the largest of one line
	for _, r := range results.Output {
		var c completed
		decode(t, r.Response.Body, &c)
		sum.InputTokens += c.Usage.PromptTokens
		sum.OutputTokens += c.Usage.CompletionTokens
		most.InputTokens = max(most.InputTokens, c.Usage.PromptTokens)
		most.OutputTokens = max(most.OutputTokens, c.Usage.CompletionTokens)
		sum.InputTokensDetails.CachedTokens += c.Usage.PromptTokensDetails.CachedTokens
	}
	sum.TotalTokens = sum.InputTokens + sum.OutputTokens
	if b.Usage != sum {
		t.Errorf("the batch reports %+v, its results %+v", b.Usage, sum)
	}
	withdrawn := s.withdrawn(t, gateway)
	// The counters come a step after the answers.
	var prompt, generated int64 // more than the results have
	if !tidegatetest.Poll(10*time.Second, func() bool {
		after := metrics(t, s.servers...)
		prompt = int64(after[promptTokens]-before[promptTokens]) - sum.InputTokens
		generated = int64(after[generationTokens]-before[generationTokens]) - sum.OutputTokens
		return prompt >= 0 && generated >= 0
	}) || prompt > withdrawn*most.InputTokens || generated > withdrawn*most.OutputTokens {
		t.Errorf("the engines counted %d prompt tokens and %d generated ones more than the %d and %d of the results; %d lines were withdrawn",
			prompt, generated, sum.InputTokens, sum.OutputTokens, withdrawn)
	}
	t.Logf("%d lines: %d prompt tokens, %d generated in the results; the engines counted %d and %d more, %d lines were withdrawn",
		n, sum.InputTokens, sum.OutputTokens, prompt, generated, withdrawn)
}

// withdrawn returns how often a gateway has withdrawn a line from a server.
func (s *suite) withdrawn(t *testing.T, gateway *tidegatetest.Gateway) (n int64) {
	t.Helper()
	for _, server := range s.servers {
		n += int64(gateway.Metric(t, fmt.Sprintf("tidegate_upstream_lines_withdrawn_total{upstream=%q}", server.URL)))
	}
	return n
}
