package gateway

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/vllmsim"
)

// TestBatchReusesPrefixes checks that lines of a shuffled batch find the prefix that
// they share in the caches of the servers, which hold a fraction of all prefixes, and
// that the results are in input order whether lines share prefixes or not.
func TestBatchReusesPrefixes(t *testing.T) {
	const lines, shared = 240, 2048 // tokens
	for name, test := range map[string]struct {
		groups int
		least  float64 // part of the shared tokens that is found in a cache
	}{
		"groups":         {24, 0.75},
		"nothing shared": {lines, 0},
	} {
		t.Run(name, func(t *testing.T) {
			sims := tidegatetest.StartSims(t, 2, "--engine", "h100-8b", "--speed", "10", "--kv-tokens", "16000")
			gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})
			order := rand.New(rand.NewPCG(1, 2)).Perm(lines)
			input := tidegatetest.BatchInput(t, lines, func(i int) string {
				group := order[i] % test.groups
				text := fmt.Sprintf("document %06d ", group)
				return strings.Repeat(text, 4*shared/len(text)+1) + tidegatetest.CustomID(i)
			})
			b := gateway.WaitEnd(t, gateway.Submit(t, input).ID, 2*time.Minute)
			results, problems := tidegatetest.CompareLines(input, gateway.Content(t, b.OutputFileID), gateway.Content(t, b.ErrorFileID))
			if len(problems) > 0 || len(results.Output) != lines {
				t.Fatalf("got %d results and problems %q, want %d and none", len(results.Output), problems[:min(3, len(problems))], lines)
			}
			cached := 0
			for line := range strings.Lines(string(input)) {
				var asked struct {
					CustomID string `json:"custom_id"`
					Body     json.RawMessage
				}
				if err := json.Unmarshal([]byte(line), &asked); err != nil {
					t.Fatal(err)
				}
				var answer struct {
					Choices []struct{ Message struct{ Content string } }
					Usage   struct {
						Details struct {
							Cached int `json:"cached_tokens"`
						} `json:"prompt_tokens_details"`
					}
				}
				if err := json.Unmarshal(results.Output[asked.CustomID].Response.Body, &answer); err != nil {
					t.Fatal(err)
				}
				if got, want := answer.Choices[0].Message.Content, vllmsim.ExpectedContent(tidegatetest.ChatPath, asked.Body); got != want {
					t.Errorf("%s: got answer %q, want %q", asked.CustomID, got, want)
				}
				cached += answer.Usage.Details.Cached
			}
			reusable := (lines - test.groups) * shared
			t.Logf("%d of %d reusable tokens were cached", cached, reusable)
			if float64(cached) < test.least*float64(reusable) || test.groups == lines && cached > 0 {
				t.Errorf("got %d cached tokens of %d reusable ones, want a part of %g at least", cached, reusable, test.least)
			}
		})
	}
}
