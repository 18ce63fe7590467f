package main

import (
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 15 16 17"
	for _, test := range []struct {
		name, stat string
		want       time.Duration
		refused    bool
	}{
		{"a plain name", "12 (postgres)" + rest, 1270 * time.Millisecond, false},
		{"a name like the end of a name", "12 (a) b (c) )" + rest, 1270 * time.Millisecond, false},
		{"too short", "12 (postgres) S 1 2", 0, true},
		{"no name", "12 S 1 2", 0, true},
		{"a word instead of a number", "12 (postgres) S 1 2 3 4 5 6 7 8 9 10 100 x 3 4 15 16", 0, true},
		{"nothing", "", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseStat([]byte(test.stat))
			if got != test.want || (err != nil) != test.refused {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestParseInfo(t *testing.T) {
	const text = "# Memory\r\nused_memory:1038192\r\nused_memory_human:1013.86K\r\nused_memory_rss:9\r\n"
	for _, test := range []struct {
		field   string
		want    int64
		refused bool
	}{
		{"used_memory", 1038192, false},
		{"used_memory_rss", 9, false},
		{"used_memory_human", 0, true},
		{"memory", 0, true},
	} {
		got, err := parseInfo(text, test.field)
		if got != test.want || (err != nil) != test.refused {
			t.Errorf("%s: %d, %v; want %d", test.field, got, err, test.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = float64(i)
	}
	for _, test := range []struct {
		values  []float64
		q, want float64
	}{
		{[]float64{7}, 0, 7},
		{[]float64{7}, 1, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 99},
	} {
		if got := quantile(test.values, test.q); got != test.want {
			t.Errorf("%v of %d values: %v, want %v", test.q, len(test.values), got, test.want)
		}
	}
}

func TestSlicesOf(t *testing.T) {
	for _, test := range []struct {
		name             string
		lines, lineBytes int
		want             int64
	}{
		{"full slices", 128, 100, 2},
		{"one more", 129, 100, 3},
		{"limited by bytes", 10, batch.SliceBytes / 5, 2},
		{"a line that is longer than a slice", 3, batch.SliceBytes + 1, 3},
		{"none", 0, 100, 0},
	} {
		if got := slicesOf(test.lines, test.lineBytes); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestSpanOf(t *testing.T) {
	point := func(bytes, dead, calls int64, millis float64) churnPoint {
		s := statementSample{calls, millis}
		return churnPoint{Claim: s, Commit: s, Syncs: s, Tables: []tableSample{
			{Name: "files", Total: 1 << 40, Dead: 1 << 20},
			{Name: "segments", Total: bytes, Dead: dead, ToastDead: 1},
			{Name: "slices", Total: 5, Dead: 2},
		}}
	}
	got := spanOf([]churnPoint{
		point(10, 4, 100, 100), point(30, 7, 110, 120), point(20, 3, 110, 120), point(20, 3, 120, 180), point(20, 3, 121, 183),
	})
	want := span{MaxBytes: 35, MaxDead: 10, ClaimMillis: 3, CommitMillis: 3, SyncMillis: 3, WorstClaim: 6, WorstCommit: 6}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := spanOf(nil); got != (span{}) {
		t.Errorf("empty input: got %+v", got)
	}
}

// Groups name every line of their slices once, in groups of one size.
func TestGroupOf(t *testing.T) {
	claimed := make([]batch.Slice, workSlices)
	for i := range claimed {
		claimed[i].Number = i
	}
	seen := make(map[[2]int]bool)
	for first := 0; first < batch.SliceLines; first += workGroup / workSlices {
		lines := 0
		for _, w := range groupOf(claimed, first, workGroup/workSlices) {
			for _, l := range w.Lines {
				seen[[2]int{w.Claim.Number, l.Index}] = true
				lines++
			}
		}
		if lines != workGroup {
			t.Errorf("a group of %d lines", lines)
		}
	}
	if len(seen) != workSlices*batch.SliceLines {
		t.Errorf("%d lines, want %d", len(seen), workSlices*batch.SliceLines)
	}
}

func TestNumbers(t *testing.T) {
	for _, test := range []struct {
		text    string
		want    []int
		refused bool
	}{
		{"16,256", []int{16, 256}, false},
		{"8", []int{8}, false},
		{"", nil, false},
		{"8,x", nil, true},
		{"0", nil, true},
	} {
		got, err := numbers(test.text)
		if !slices.Equal(got, test.want) || (err != nil) != test.refused {
			t.Errorf("numbers(%q) is %v, %v; want %v", test.text, got, err, test.want)
		}
	}
}

// TestSummarizeInterference checks that ratios relate each round to its own time without a
// batch.
func TestSummarizeInterference(t *testing.T) {
	round := func(off, on, lines float64) interferenceRound {
		return interferenceRound{Off: liveResult{TTFT50: off, ITL50: off}, On: liveResult{TTFT50: on, ITL50: 2 * on}, LinesPerSecond: lines}
	}
	r := interferenceResult{
		Rounds: []interferenceRound{round(1, 2, 9), round(2, 2, 10), round(1, 3, 8)},
		Fixed:  []fixedResult{{AtOnce: 8, LinesPerSecond: 6}, {AtOnce: 24, LinesPerSecond: 12}, {AtOnce: 32, LinesPerSecond: 11}},
	}
	r.summarize()
	if r.TTFTRatio != 2 || r.ITLRatio != 4 || r.LinesPerSecond != 9 || r.BestFixed != 24 || r.LinesOfBest != 0.75 {
		t.Errorf("%+v", r)
	}
}

// TestSummaryOfStreams checks that the time per token is that of all tokens after the
// first, also with several tokens per event.
func TestSummaryOfStreams(t *testing.T) {
	gaps := make([]time.Duration, liveTokens-1)
	for i := range gaps {
		gaps[i] = 10 * time.Millisecond
	}
	got := summary([]streamed{{ttft: time.Second, gaps: gaps}, {ttft: 2 * time.Second, gaps: []time.Duration{310 * time.Millisecond}}})
	want := liveResult{Requests: 2, TTFT50: 2, TTFT95: 2, ITL50: 0.01, ITL95: 0.01, Gap99: 0.31}
	if got != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
