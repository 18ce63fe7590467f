package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// lengthsOptions are the options of the scenario lengths. Flags make it shorter.
type lengthsOptions struct {
	kinds  string
	lines  int
	slots  int           // of a server for batches
	token  time.Duration // time of a token
	rounds int
}

func (o *lengthsOptions) register() {
	flag.StringVar(&o.kinds, "lengths-kinds", "equal,heavy-tailed,long-last,slow-server", "lengths: kinds of lines")
	flag.IntVar(&o.lines, "lengths-lines", 3000, "lengths: lines of a batch")
	flag.IntVar(&o.slots, "lengths-slots", 32, "lengths: slots of a server for batches; the servers have one more, which the gateway keeps for live requests")
	flag.DurationVar(&o.token, "lengths-token", 4*time.Millisecond, "lengths: time between two tokens; a longer one makes the gateway's own time count less")
	flag.IntVar(&o.rounds, "lengths-rounds", 3, "lengths: rounds; the median counts")
}

const (
	lengthsServers = 4
	lengthsPrompt  = 60  // tokens of a prompt
	lengthsMean    = 200 // tokens that a line generates
	lengthsSeed    = 15
	slowServer     = 3.0 // how many times as long the slow server takes
)

// lengthKind is a kind of lines, and servers for them.
type lengthKind struct {
	slow bool // one server is slow
	// tokens returns how many tokens each of n lines generates.
	tokens func(n int, rng *rand.Rand) []int
}

var lengthKinds = map[string]lengthKind{
	"equal":        {tokens: equalLengths},
	"heavy-tailed": {tokens: heavyTailed},
	"long-last":    {tokens: longLast},
	"slow-server":  {slow: true, tokens: equalLengths},
}

func equalLengths(n int, _ *rand.Rand) []int { return slices.Repeat([]int{lengthsMean}, n) }

// heavyTailed draws from a log-normal distribution with sigma 1.
func heavyTailed(n int, rng *rand.Rand) []int {
	const sigma = 1
	mu := math.Log(lengthsMean) - sigma*sigma/2.0
	all := make([]int, n)
	for i := range all {
		all[i] = max(1, int(math.Round(math.Exp(mu+sigma*rng.NormFloat64()))))
	}
	return all
}

// longLast makes the last 2 % of the lines 20 times as long as the others.
func longLast(n int, _ *rand.Rand) []int {
	all := slices.Repeat([]int{lengthsMean}, n)
	for i := n - n/50; i < n; i++ {
		all[i] *= 20
	}
	return all
}

// speeds returns the speeds of the slots of all servers.
func (k lengthKind) speeds(slots int) speeds {
	all := slices.Repeat(speeds{1}, lengthsServers*slots)
	if k.slow {
		for i := range slots {
			all[i] = 1 / slowServer
		}
	}
	return all
}

// lengthsResult is one kind of lines.
type lengthsResult struct {
	Kind    string  `json:"kind"`
	Tokens  int     `json:"tokens"`
	Longest int     `json:"longest_tokens"`
	Ideal   float64 `json:"ideal_seconds"`      // longest line first, lengths and speeds known
	Bound   float64 `json:"bound_seconds"`      // no schedule is below it
	Greedy  float64 `json:"file_order_seconds"` // in the order of the file, nothing known

	Known   lengthsSide `json:"length_known"`   // max_tokens is the length
	Unknown lengthsSide `json:"length_unknown"` // max_tokens is the longest line's
}

// lengthsSide has the measurements of one side.
type lengthsSide struct {
	Seconds seconds `json:"seconds"`
	Ratio   float64 `json:"ratio_to_ideal"`
}

// measureLengths compares the makespan of batches whose lines differ in length, and
// of one with a slow server, with a schedule that knows all lengths.
func measureLengths(ctx context.Context, b *bench) (any, error) {
	o := &b.lengths
	var results []lengthsResult
	for name := range strings.SplitSeq(o.kinds, ",") {
		kind, known := lengthKinds[name]
		if !known {
			return nil, fmt.Errorf("-lengths-kinds: no kind %q", name)
		}
		r := o.plan(name, kind)
		for _, side := range []struct {
			name  string
			known bool
			out   *lengthsSide
		}{{"length known", true, &r.result.Known}, {"length unknown", false, &r.result.Unknown}} {
			walls, err := b.makespan(ctx, o.fleet(kind), o.rounds, func(to io.Writer) error { return r.write(to, side.known) })
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", name, side.name, err)
			}
			*side.out = lengthsSide{walls, median(walls) / r.result.Ideal}
			fmt.Printf("%s, %s: makespan %.2f s, ideal %.2f s, ratio %.3f (median of %d; in file order %.3f, bound %.3f)\n", name, side.name,
				median(walls), r.result.Ideal, side.out.Ratio, len(walls), r.result.Greedy/r.result.Ideal, r.result.Bound/r.result.Ideal)
		}
		results = append(results, r.result)
	}
	return map[string]any{"lines": o.lines, "slots": o.slots, "token": o.token.String(), "kinds": results}, nil
}

// lengthsPlan is the lines of a kind and what schedules take for them.
type lengthsPlan struct {
	lengths []int // tokens of the lines
	result  lengthsResult
}

func (o *lengthsOptions) plan(name string, kind lengthKind) lengthsPlan {
	p := lengthsPlan{lengths: kind.tokens(o.lines, rand.New(rand.NewPCG(lengthsSeed, 0)))}
	work := make([]time.Duration, len(p.lengths))
	p.result = lengthsResult{Kind: name, Longest: slices.Max(p.lengths)}
	for i, n := range p.lengths {
		work[i] = time.Duration(n) * o.token
		p.result.Tokens += n
	}
	slots := kind.speeds(o.slots)
	p.result.Ideal, p.result.Bound, p.result.Greedy = slots.ideal(work).Seconds(), slots.bound(work).Seconds(), slots.inFileOrder(work).Seconds()
	return p
}

// write writes the batch. If the lengths are not known, max_tokens is the same for
// all lines.
func (p lengthsPlan) write(to io.Writer, known bool) error {
	for i, n := range p.lengths {
		limit := p.result.Longest
		if known {
			limit = n
		}
		body := limited(fmt.Sprintf("line-%06d", i), lengthsPrompt, n, limit, false)
		if _, err := fmt.Fprintf(to, `{"custom_id":"line-%06d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", i, body); err != nil {
			return fmt.Errorf("writing input: %w", err)
		}
	}
	return nil
}

// fleet returns the servers of a kind. The gateway keeps one slot of a server for live
// requests. The first token of an answer takes as long as
// each other one.
func (o *lengthsOptions) fleet(kind lengthKind) slotFleet {
	f := slotFleet{slots: o.slots + 1}
	for i := range lengthsServers {
		token := o.token
		if kind.slow && i == 0 {
			token = time.Duration(float64(token) * slowServer)
		}
		f.servers = append(f.servers, []string{"--ttft", token.String(), "--itl", token.String()})
	}
	return f
}
