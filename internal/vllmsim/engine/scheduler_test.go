package engine

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// small is an engine of a few blocks, with round times.
var small = Spec{
	StepBase: 10 * time.Millisecond, PerDecode: time.Millisecond, PerContextToken: time.Microsecond, PrefillRate: 1000,
	MaxNumBatchedTokens: 100, MaxNumSeqs: 4, KVTokens: 320, BlockSize: 16, MaxModelLen: 320,
}

// prompt returns a prompt with a number of tokens. The same letter makes the same prompt.
func prompt(letter byte, tokens int) Prompt {
	return NewPrompt(16, bytes.Repeat([]byte{letter}, tokens*bytesPerToken))
}

// bench runs a scheduler step by step, without a clock of the wall.
type bench struct {
	t     *testing.T
	spec  Spec
	sched *Scheduler
	now   time.Time
	start time.Time
}

func newBench(t *testing.T, spec Spec, opt Options) *bench {
	start := time.Unix(1, 0)
	return &bench{t: t, spec: spec, sched: NewScheduler(spec, opt), now: start, start: start}
}

func (b *bench) add(r Request) *Sequence {
	if r.StallAt == 0 {
		r.StallAt = -1
	}
	q := &Sequence{Request: r, arrived: b.now}
	b.sched.Add(q)
	return q
}

// step runs one step and returns it.
func (b *bench) step() Step {
	b.t.Helper()
	step, ok := b.sched.Plan(b.now)
	if !ok {
		b.t.Fatal("no step to compute")
	}
	b.now = b.now.Add(b.spec.StepTime(step.Decodes, step.Context, step.Prefill))
	b.sched.Commit(b.now)
	return step
}

func (b *bench) elapsed() time.Duration { return b.now.Sub(b.start) }

// runAll steps until no work is left.
func (b *bench) runAll() (steps int) {
	b.t.Helper()
	for len(b.sched.running)+b.sched.queue.len() > 0 {
		b.step()
		if steps++; steps > 10000 {
			b.t.Fatal("the engine makes no progress")
		}
	}
	return steps
}

// The expected times are worked out by hand from the constants: 7.5 ms a step,
// 10 µs a decode, 40 ns a token of context, 20,480 prompt tokens a second.
func TestStepTime(t *testing.T) {
	spec := Specs["h100-8b"]
	for name, test := range map[string]struct {
		decodes, context, prefill int
		want                      time.Duration
	}{
		"empty":            {0, 0, 0, 7500 * time.Microsecond},
		"one decode":       {1, 500, 0, 7530 * time.Microsecond},
		"256 decodes":      {256, 256 * 400, 0, 14156 * time.Microsecond},
		"full prefill":     {0, 0, 2048, 107500 * time.Microsecond},
		"prefill of 512":   {0, 0, 512, 32500 * time.Microsecond},
		"decodes, prefill": {100, 40000, 1024, 60100 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			if got := spec.StepTime(test.decodes, test.context, test.prefill); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A sequence alone takes a step for its prompt and one for each further token.
func TestAlone(t *testing.T) {
	b := newBench(t, Specs["h100-8b"], Options{})
	q := b.add(Request{Prompt: prompt('a', 300), MaxTokens: 100})
	if got, want := b.step(), (Step{Prefill: 300}); got != want {
		t.Errorf("first step %+v, want %+v", got, want)
	}
	// 7.5 ms and 300 tokens at 20,480/s.
	if got, want := b.elapsed(), 22148437*time.Nanosecond; got != want {
		t.Errorf("first token after %s, want %s", got, want)
	}
	if got, want := b.step(), (Step{Decodes: 1, Context: 301}); got != want {
		t.Errorf("second step %+v, want %+v", got, want)
	}
	if got := 2 + b.runAll(); got != 100 {
		t.Errorf("%d steps, want one for each of 100 tokens", got)
	}
	// 99 decodes at 301 to 399 tokens of context: 99 × 7.51 ms + 34,650 × 40 ns.
	if got, want := b.elapsed(), 22148437*time.Nanosecond+743490*time.Microsecond+1386*time.Microsecond; got != want {
		t.Errorf("ended after %s, want %s", got, want)
	}
	if !q.Done() || q.Generated() != 100 {
		t.Errorf("done %t with %d tokens", q.Done(), q.Generated())
	}
	if got := b.sched.pool.used(); got != 0 {
		t.Errorf("%d blocks used at the end, want 0", got)
	}
}

// Decodes take their tokens first, prompts share what is left, in order.
func TestBudget(t *testing.T) {
	spec := small
	spec.KVTokens = 3200
	b := newBench(t, spec, Options{})
	b.add(Request{Prompt: prompt('a', 40), MaxTokens: 10})
	b.add(Request{Prompt: prompt('b', 50), MaxTokens: 10})
	long := b.add(Request{Prompt: prompt('c', 150), MaxTokens: 10})
	b.add(Request{Prompt: prompt('d', 10), MaxTokens: 10})
	for i, want := range []Step{
		{Prefill: 100}, // a, b, 10 of c
		{Decodes: 2, Context: 41 + 51, Prefill: 98}, // 98 of c
		{Decodes: 2, Context: 42 + 52, Prefill: 52}, // the rest of c, and d
		{Decodes: 4, Context: 43 + 53 + 151 + 11},
	} {
		if got := b.step(); got != want {
			t.Errorf("step %d: %+v, want %+v", i+1, got, want)
		}
		if i == 1 && long.Generated() != 0 {
			t.Errorf("a chunk of a prompt gave %d tokens", long.Generated())
		}
	}
	if got := long.Generated(); got != 2 {
		t.Errorf("the long prompt has %d tokens, want 2", got)
	}
}

func TestQueueIsFirstComeFirstServed(t *testing.T) {
	b := newBench(t, small, Options{})
	var seqs []*Sequence
	for i := range 6 {
		seqs = append(seqs, b.add(Request{Prompt: prompt(byte('a'+i), 10), MaxTokens: 2 + i, Priority: -i}))
	}
	b.step()
	if got, want := len(b.sched.running), 4; got != want || b.sched.queue.len() != 2 {
		t.Fatalf("%d run and %d wait, want 4 and 2", got, b.sched.queue.len())
	}
	b.step() // ends the first
	b.step() // ends the second, admits the fifth
	if got := fmt.Sprint(seqs[4].Generated(), seqs[5].Generated()); got != "1 0" {
		t.Errorf("fifth and sixth have %s tokens, want 1 and 0", got)
	}
}

func TestPriorityPassesTheQueue(t *testing.T) {
	spec := small
	spec.MaxNumSeqs = 1
	for _, byPriority := range []bool{true, false} {
		t.Run(fmt.Sprint(byPriority), func(t *testing.T) {
			b := newBench(t, spec, Options{Priority: byPriority})
			running := b.add(Request{Prompt: prompt('a', 10), MaxTokens: 3, Priority: 5})
			b.step()
			early := b.add(Request{Prompt: prompt('b', 10), MaxTokens: 1, Priority: 5})
			urgent := b.add(Request{Prompt: prompt('c', 10), MaxTokens: 1})
			b.step()
			if running.Generated() != 2 {
				t.Error("a running sequence was passed")
			}
			b.step() // the running one ends
			b.step()
			if early.Done() == byPriority || urgent.Done() != byPriority {
				t.Errorf("early done %t, urgent done %t", early.Done(), urgent.Done())
			}
		})
	}
}

// Twenty blocks hold two sequences of 144 tokens, but not what they generate.
func TestPreemption(t *testing.T) {
	for _, byPriority := range []bool{false, true} {
		t.Run(fmt.Sprintf("priority=%t", byPriority), func(t *testing.T) {
			b := newBench(t, small, Options{Priority: byPriority, NoPrefixCaching: true})
			first := b.add(Request{Prompt: prompt('a', 90), MaxTokens: 100, Priority: 1})
			second := b.add(Request{Prompt: prompt('b', 90), MaxTokens: 100})
			victim, other := second, first
			if byPriority {
				victim, other = first, second
			}
			for victim.preemptions == 0 {
				b.step()
			}
			if got := b.sched.preemptions; got != 1 || other.preemptions != 0 {
				t.Errorf("%d preemptions, %d of the other one", got, other.preemptions)
			}
			lost := victim.Generated()
			if lost == 0 || len(victim.blocks) != 0 || b.sched.queue.len() != 1 {
				t.Errorf("preempted with %d tokens, %d blocks, %d waiting", lost, len(victim.blocks), b.sched.queue.len())
			}
			for !other.Done() {
				b.step()
			}
			// Prompt and generated tokens are computed again.
			step := b.step()
			if want := min(90+lost, small.MaxNumBatchedTokens); step.Prefill != want {
				t.Errorf("recomputes %d tokens, want %d", step.Prefill, want)
			}
			b.runAll()
			if victim.Generated() != 100 || b.sched.pool.used() != 0 {
				t.Errorf("ended with %d tokens and %d blocks used", victim.Generated(), b.sched.pool.used())
			}
		})
	}
}

func TestPrefixCache(t *testing.T) {
	shared := bytes.Repeat([]byte("s"), 40*bytesPerToken) // two and a half blocks
	with := func(tail string) Prompt { return NewPrompt(16, shared, []byte(tail)) }
	long := func(letter byte) string { return string(bytes.Repeat([]byte{letter}, 40*bytesPerToken)) }
	for name, test := range map[string]struct {
		before, prompt Prompt
		opt            Options
		want           int
	}{
		"nothing":          {prompt('a', 80), prompt('b', 80), Options{}, 0},
		"shared beginning": {with(long('x')), with(long('y')), Options{}, 32},
		"the same":         {with(long('x')), with(long('x')), Options{}, 64}, // of 80: never the last token
		"not a whole block": {
			NewPrompt(16, []byte("the same 40 bytes at the beginning of it"), []byte(long('x'))),
			NewPrompt(16, []byte("the same 40 bytes at the beginning of it"), []byte(long('y'))),
			Options{},
			0,
		},
		"a different beginning": {NewPrompt(16, []byte("abcd"), shared), NewPrompt(16, []byte("efgh"), shared), Options{}, 0},
		"off":                   {with(long('x')), with(long('x')), Options{NoPrefixCaching: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, small, test.opt)
			b.add(Request{Prompt: test.before, MaxTokens: 1})
			b.runAll()
			q := b.add(Request{Prompt: test.prompt, MaxTokens: 1})
			step := b.step()
			if got := q.Cached(); got != test.want {
				t.Errorf("%d tokens cached, want %d", got, test.want)
			}
			if got, want := step.Prefill, test.prompt.Tokens-test.want; got != want {
				t.Errorf("computes %d tokens, want %d", got, want)
			}
		})
	}
}

// The prefix that was used longest ago goes first, its end before its beginning.
func TestEvictionIsLeastRecentlyUsed(t *testing.T) {
	b := newBench(t, small, Options{})
	cached := func(letter byte) int {
		q := b.add(Request{Prompt: prompt(letter, 81), MaxTokens: 1})
		b.runAll()
		return q.Cached()
	}
	// Each takes 6 of 20 blocks, of which 5 are full.
	for _, letter := range []byte("abc") {
		if got := cached(letter); got != 0 {
			t.Errorf("%c: %d cached at first", letter, got)
		}
	}
	if got := cached('a'); got != 80 {
		t.Errorf("a: %d cached, want 80", got)
	}
	cached('d') // evicts b, used longest ago
	if got := cached('a'); got != 80 {
		t.Errorf("a after d: %d cached, want 80: it was used lately", got)
	}
	if got := cached('b'); got >= 80 {
		t.Errorf("b after d: %d cached, want fewer than 80", got)
	}
}

// Sequences that share a prefix hold its blocks once, and as long as any runs.
func TestSharedBlocks(t *testing.T) {
	b := newBench(t, small, Options{})
	first := b.add(Request{Prompt: prompt('a', 80), MaxTokens: 2})
	b.step()
	second := b.add(Request{Prompt: prompt('a', 80), MaxTokens: 20})
	b.step() // ends the first
	if !first.Done() || second.Cached() != 64 {
		t.Fatalf("first done %t, second has %d cached", first.Done(), second.Cached())
	}
	if got := b.sched.pool.used(); got != 5 {
		t.Errorf("%d blocks used, want the 5 of the second", got)
	}
	b.sched.Remove(second)
	if got := b.sched.pool.used(); got != 0 {
		t.Errorf("%d blocks used after the abort, want 0", got)
	}
}

// A stalled sequence keeps its place, and the others continue.
func TestStall(t *testing.T) {
	b := newBench(t, small, Options{})
	hung := b.add(Request{Prompt: prompt('a', 10), MaxTokens: 10, StallAt: 3})
	other := b.add(Request{Prompt: prompt('b', 10), MaxTokens: 10})
	for !other.Done() {
		b.step()
	}
	if _, ok := b.sched.Plan(b.now); ok || hung.Generated() != 3 || len(b.sched.running) != 1 {
		t.Errorf("step %t, %d tokens, %d running; want none, 3 and 1", ok, hung.Generated(), len(b.sched.running))
	}
}

// A request that only reads its prompt ends with its prefill.
func TestPromptOnly(t *testing.T) {
	b := newBench(t, small, Options{})
	q := b.add(Request{Prompt: prompt('a', 150)})
	if got := b.runAll(); got != 2 || !q.Done() || q.Generated() != 0 {
		t.Errorf("%d steps, done %t, %d tokens; want 2 and no token", got, q.Done(), q.Generated())
	}
}

// TestBlocksAddUp checks that no block is lost or allocated twice under any load.
func TestBlocksAddUp(t *testing.T) {
	b := newBench(t, small, Options{Priority: true})
	left := 200
	for left > 0 || len(b.sched.running)+b.sched.queue.len() > 0 {
		for range min(left, 3) {
			left--
			b.add(Request{Prompt: prompt(byte('a'+left%5), 5+left%130), MaxTokens: 1 + left%40, Priority: left % 3})
		}
		b.step()
		if left%7 == 0 && len(b.sched.running) > 1 {
			b.sched.Remove(b.sched.running[0])
		}
		held := map[blockID]int32{}
		for _, q := range b.sched.running {
			if want := (q.computed + small.BlockSize - 1) / small.BlockSize; len(q.blocks) < want {
				t.Fatalf("a sequence of %d computed tokens has %d blocks", q.computed, len(q.blocks))
			}
			for _, id := range q.blocks {
				held[id]++
			}
		}
		for id := range b.sched.pool.total() {
			if got, want := b.sched.pool.blocks[id].refs, held[blockID(id)]; got != want {
				t.Fatalf("block %d has %d references, want %d", id, got, want)
			}
		}
		if got := b.sched.pool.used(); got != len(held) {
			t.Fatalf("%d blocks used, want %d", got, len(held))
		}
	}
	if b.sched.preemptions == 0 {
		t.Error("got no preemptions: the test has too little load")
	}
}

// BenchmarkStep is a step of 256 decodes.
func BenchmarkStep(b *testing.B) {
	s := NewScheduler(Specs["h100-8b"], Options{})
	now := time.Now()
	step := func() {
		if _, ok := s.Plan(now); !ok {
			b.Fatal("no step to compute")
		}
		s.Commit(now)
	}
	for b.Loop() {
		for len(s.running)+s.queue.len() < 256 {
			s.Add(&Sequence{Request: Request{Prompt: prompt('a', 200), MaxTokens: 200, StallAt: -1, WakeAt: 200, Progress: make(chan struct{}, 1)}})
		}
		step()
	}
}
