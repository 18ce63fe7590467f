package vllm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// promptCached is the engine's counter of prompt tokens that were in its prefix cache.
const promptCached = "vllm:prompt_tokens_cached_total"

// document returns a text of about 400 tokens that begins as no other does.
func document(name string, n int) string {
	return fmt.Sprintf("%s %d. ", name, n) + strings.Repeat("The tide comes in and the tide goes out. ", 40)
}

// prefixBatch checks that a shuffled batch whose lines share prefixes in small groups finds
// them in the prefix caches of two servers, by the engines' own counter. Lines that go to
// any server would find two thirds at most.
func (s *suite) prefixBatch(t *testing.T) {
	gateway := s.serve(t)
	const groups, of = 40, 4
	group := make([]int, 0, groups*of)
	for g := range groups {
		for range of {
			group = append(group, g)
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
	bodies := make([]body, len(group))
	for i, g := range group {
		bodies[i] = chat(document("Document", g)+fmt.Sprintf("What is said in line %d?", i), 8)
	}
	input := lines(bodies)
	before := metrics(t, s.servers...)
	b := gateway.WaitEnd(t, gateway.Submit(t, input).ID, batchLimit)
	results := checkLines(t, gateway, b, input)
	if b.Status != "completed" || len(results.Output) != len(bodies) {
		t.Fatalf("the batch is %s with %+v and %d results", b.Status, b.RequestCounts, len(results.Output))
	}
	sum, most := int64(0), make(map[int]int64) // cached tokens of all lines, and the most of a line by group
	for i := range bodies {
		var c completed
		decode(t, results.Output[tidegatetest.CustomID(i)].Response.Body, &c)
		n := c.Usage.PromptTokensDetails.CachedTokens
		sum += n
		most[group[i]] = max(most[group[i]], n)
	}
	reusable := int64(0)
	for _, n := range most {
		reusable += n * (of - 1)
	}
	if reusable == 0 || float64(sum) < 0.8*float64(reusable) {
		t.Errorf("got %d cached tokens, want at least 0.8 of %d", sum, reusable)
	}
	// The counters come a step after the answers, and may have those of lines that were begun
	// just before they were withdrawn.
	cached, withdrawn := int64(0), s.withdrawn(t, gateway)
	if !tidegatetest.Poll(10*time.Second, func() bool {
		cached = int64(metrics(t, s.servers...)[promptCached] - before[promptCached])
		return cached >= sum
	}) || cached > sum+withdrawn*slices.Max(slices.Collect(maps.Values(most))) {
		t.Errorf("the engines counted %d cached tokens, the results have %d, and %d lines were withdrawn", cached, sum, withdrawn)
	}
	t.Logf("%d of %d reusable tokens were cached; the engines counted %d, %d lines were withdrawn", sum, reusable, cached, withdrawn)
}

// conversation checks that the turns of a conversation stay on one of two servers, whose
// prefix cache has the earlier turns.
func (s *suite) conversation(t *testing.T) {
	gateway := s.serve(t)
	const streams, tokens = 8, 8
	base := metrics(t, s.servers...)[generationTokens]
	for i := range streams { // the gateway learns how fast the servers prefill
		ask(t, gateway.URL, chatPath, chat(document("First", i), tokens).streamed())
	}
	if !tidegatetest.Poll(10*time.Second, func() bool { return metrics(t, s.servers...)[generationTokens]-base >= streams*tokens }) {
		t.Fatal("the engines have not counted the tokens of the first streams")
	}
	const turns = 6
	before := []float64{metrics(t, s.servers[0])[promptTokens], metrics(t, s.servers[1])[promptTokens]}
	sum, text := 0.0, document("Conversation", 0)
	for turn := range turns {
		text += fmt.Sprintf(" Turn %d: what comes next?", turn)
		var c completed
		decode(t, ask(t, gateway.URL, chatPath, chat(text, 4)), &c)
		sum += float64(c.Usage.PromptTokens)
		if turn > 0 && c.Usage.PromptTokensDetails.CachedTokens == 0 {
			t.Errorf("turn %d has no cached tokens, want those of the turns before", turn)
		}
	}
	var got [2]float64
	if !tidegatetest.Poll(10*time.Second, func() bool {
		for i := range got {
			got[i] = metrics(t, s.servers[i])[promptTokens] - before[i]
		}
		return got[0]+got[1] >= sum
	}) || got[0] != 0 && got[1] != 0 {
		t.Errorf("the servers read %v prompt tokens of the conversation, want %.0f on one and none on the other", got, sum)
	}
}
