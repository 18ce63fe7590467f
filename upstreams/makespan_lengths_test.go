//go:build !race

package upstreams

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Lines whose lengths differ run on servers that take as long for each token, whatever
// else they do.
const (
	lengthsSlots = 32 // of a server for lines; one more is kept for live requests
	lengthsToken = 4 * time.Millisecond
	lengthsMean  = 200 // tokens
)

// lengthsJob returns lines that generate numbers of tokens. limit returns max_tokens of a
// line, begins the beginning of its prompt.
func lengthsJob(tokens []int, limit func(i int) int, begins func(i int) string) *job {
	var all job
	for i, n := range tokens {
		all.groups = append(all.groups, i)
		all.bodies = append(all.bodies, fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[{"role":"user","content":"%s line %06d [[sim:tokens=%d]]"}]}`,
			model, limit(i), begins(i), i, n))
	}
	return &all
}

// idealMakespan is the makespan of a schedule that knows all lengths and speeds: the
// longest line first, each on the slot that ends it first.
func idealMakespan(tokens []int, servers []gpu) time.Duration {
	sorted := slices.Sorted(slices.Values(tokens))
	free := make([]time.Duration, len(servers)*lengthsSlots)
	ends := func(slot, n int) time.Duration {
		return free[slot] + time.Duration(n)*servers[slot/lengthsSlots].token
	}
	for _, n := range slices.Backward(sorted) {
		best := 0
		for slot := range free {
			if ends(slot, n) < ends(best, n) {
				best = slot
			}
		}
		free[best] = ends(best, n)
	}
	return slices.Max(free)
}

// heavyTailed draws lengths from a log-normal distribution with sigma 1.
func heavyTailed(n int) []int {
	random := rand.New(rand.NewPCG(15, 0))
	all := make([]int, n)
	for i := range all {
		all[i] = max(1, int(math.Round(math.Exp(math.Log(lengthsMean)-0.5+random.NormFloat64()))))
	}
	return all
}

// TestLengths checks that a batch ends hardly later than the best schedule for its lines,
// although some of them are long or a server is slow, as far as the lengths can be known:
// from max_tokens, or from other lines whose prompts begin alike. "Few lines" finds an end
// of the batch in which long lines do not start first, "long groups, long lines" lengths that
// are not learned by group, and the servers that are a little slower an end in which these
// are left idle, or get lines that end after the others have done the rest.
func TestLengths(t *testing.T) {
	equal := slices.Repeat([]int{lengthsMean}, 3000)
	groups := make([]int, 1500) // of 30 prefixes, those of the last two are long; shuffled
	random := rand.New(rand.NewPCG(15, 1))
	for i := range groups {
		groups[i] = random.IntN(30)
	}
	grouped := slices.Clone(equal[:len(groups)])
	for i, g := range groups {
		if g >= 28 {
			grouped[i] = 8 * lengthsMean
		}
	}
	same := func(int) string { return "" }
	ofGroup := func(i int) string { return strings.Repeat(fmt.Sprintf("Group %02d has instructions. ", groups[i]), 20) }
	longLast := slices.Clone(equal)
	for i := 98 * len(longLast) / 100; i < len(longLast); i++ {
		longLast[i] = 20 * lengthsMean
	}
	uniform := make([]int, 700)
	for i := range uniform {
		uniform[i] = lengthsMean/10 + random.IntN(18*lengthsMean/10)
	}
	// Few lines are near the long ones: their own parts are long.
	apart := func(i int) string {
		return ofGroup(i) + strings.Repeat(fmt.Sprintf("%d-%d ", i*7919, i), 1000)
	}
	server := gpu{slower: 1, seqs: lengthsSlots + 1, token: lengthsToken}
	for name, tt := range map[string]struct {
		tokens  []int
		unknown bool // max_tokens is the same for all lines
		begins  func(i int) string
		slow    int     // servers that are slow
		times   float64 // as long for a token on these
		most    float64
	}{
		"heavy-tailed":         {heavyTailed(3000), false, same, 0, 0, 1.08},
		"long ones last":       {longLast, false, same, 0, 0, 1.02},
		"two slow servers":     {equal, false, same, 2, 3, 1.02},
		"slow server":          {equal, false, same, 1, 3, 1.02},
		"little slower":        {equal[:1500], false, same, 1, 1.15, 1.02},
		"somewhat slower":      {equal[:1500], false, same, 1, 1.3, 1.015},
		"few lines, all short": {uniform, false, same, 0, 0, 1.18}, // in file order 1.183 to 1.201
		// One long line that starts on the slow server would double the time.
		"heavy-tailed, slow server": {heavyTailed(3000), false, same, 1, 3, 1.08},
		"long groups, long lines":   {grouped, true, apart, 0, 0, 1.8},
	} {
		t.Run(name, func(t *testing.T) {
			servers := slices.Repeat([]gpu{server}, 4)
			for i := range tt.slow {
				servers[i].token = time.Duration(tt.times * float64(server.token))
			}
			work := lengthsJob(tt.tokens, func(i int) int {
				if tt.unknown {
					return slices.Max(tt.tokens)
				}
				return tt.tokens[i]
			}, tt.begins)
			got, ideal := work.batch(t, servers, batch.Config{}), idealMakespan(tt.tokens, servers)
			ratio := got.took.Seconds() / ideal.Seconds()
			for _, line := range got.history[max(0, len(got.history)-60):] {
				t.Log(line)
			}
			t.Logf("%v, ideal %v: × %.3f", got.took, ideal, ratio)
			if ratio > tt.most {
				t.Errorf("got %v, %.3f of the ideal %v, want at most %.3f", got.took, ratio, ideal, tt.most)
			}
		})
	}
}
