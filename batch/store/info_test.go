package store

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

func informed() []batch.LineResult {
	lines := []batch.LineResult{
		{Index: 63, LineInfo: batch.LineInfo{Attempts: 3, Duration: 1234 * time.Millisecond, Upstream: "http://a:8000"}},
		{Index: 0, Failed: true},
		{Index: 7, LineInfo: batch.LineInfo{Attempts: 1, Upstream: "http://b:8000"}},
		{Index: 8, LineInfo: batch.LineInfo{Attempts: 1, Upstream: "http://a:8000"}},
	}
	lines[0].Usage.InputTokens, lines[0].Usage.TotalTokens = math.MaxInt64, 300
	lines[2].Usage.InputTokensDetails.CachedTokens, lines[2].Usage.OutputTokens, lines[2].Usage.OutputTokensDetails.ReasoningTokens = 1, 2, 3
	return lines
}

func TestInfoRoundTrip(t *testing.T) {
	want := informed()
	got := []batch.LineResult{{Index: 0, Failed: true}, {Index: 7}, {Index: 8}, {Index: 9}, {Index: 63}}
	AddInfo(got, EncodeInfo(want))
	if diff := cmp.Diff([]batch.LineResult{want[1], want[2], want[3], {Index: 9}, want[0]}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzAddInfo checks that no input for an info changes the results.
func FuzzAddInfo(f *testing.F) {
	whole := EncodeInfo(informed())
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := []batch.LineResult{{Index: 63, Record: []byte("r")}, {Index: 0, Failed: true}}
		AddInfo(lines, b)
		if string(lines[0].Record) != "r" || !lines[1].Failed {
			t.Errorf("results: got %+v, want unchanged", lines)
		}
	})
}
