package main

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSchedules(t *testing.T) {
	for name, test := range map[string]struct {
		slots               speeds
		work                []time.Duration
		ideal, bound, order time.Duration
	}{
		"equal lines":       {speeds{1, 1}, []time.Duration{10, 10, 10, 10}, 20, 20, 20},
		"one round more":    {speeds{1, 1}, []time.Duration{10, 10, 10}, 20, 15, 20},
		"long line last":    {speeds{1, 1}, []time.Duration{10, 10, 10, 10, 40}, 40, 40, 60},
		"long line first":   {speeds{1, 1}, []time.Duration{40, 10, 10, 10, 10}, 40, 40, 40},
		"the longest alone": {speeds{1, 1, 1, 1}, []time.Duration{70, 1, 1}, 70, 70, 70},
		// The slow slot ends a line at 30. Without it the fast one ends three then.
		"a slow slot":                {speeds{1, 1. / 3}, []time.Duration{10, 10, 10, 10}, 30, 30, 30},
		"no last line for slow ones": {speeds{1, 1, 1. / 3}, []time.Duration{10, 10, 10, 10}, 20, 40 * time.Duration(3) / 7, 30},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.slots.ideal(test.work); got != test.ideal {
				t.Errorf("ideal: got %d, want %d", got, test.ideal)
			}
			if got := test.slots.bound(test.work); got != test.bound {
				t.Errorf("bound: got %d, want %d", got, test.bound)
			}
			if got := test.slots.inFileOrder(test.work); got != test.order {
				t.Errorf("in file order: got %d, want %d", got, test.order)
			}
		})
	}
}

func TestLengthKinds(t *testing.T) {
	heavy := heavyTailed(100_000, rand.New(rand.NewPCG(1, 1)))
	sum, logs, squares := 0.0, 0.0, 0.0
	for _, n := range heavy {
		l := math.Log(float64(n))
		sum, logs, squares = sum+float64(n), logs+l, squares+l*l
	}
	n := float64(len(heavy))
	sigma := math.Sqrt(squares/n - logs/n*logs/n)
	if mean := sum / n; mean < 190 || mean > 210 || sigma < 0.97 || sigma > 1.03 {
		t.Errorf("heavy-tailed: got a mean of %.1f and sigma %.2f, want 200 and 1", mean, sigma)
	}
	last := longLast(100, nil)
	if last[97] != lengthsMean || last[98] != 20*lengthsMean || last[99] != 20*lengthsMean {
		t.Errorf("long last: the last lines are %v, want two of 20 times the mean", last[96:])
	}
	if got, want := lengthKinds["slow-server"].speeds(2), (speeds{1. / 3, 1. / 3, 1, 1, 1, 1, 1, 1}); !slices.Equal(got, want) {
		t.Errorf("slow server: got speeds %v, want %v", got, want)
	}
}

// The servers generate what the lines say, and take that long for it.
func TestLengthsInput(t *testing.T) {
	o := lengthsOptions{lines: 100, slots: 4, token: time.Millisecond}
	p := o.plan("long-last", lengthKinds["long-last"])
	if p.result.Tokens != 98*200+2*4000 || p.result.Longest != 4000 || p.result.Ideal != 4 {
		t.Errorf("got %+v, want 27600 tokens, the longest line 4000, ideal 4 s", p.result)
	}
	for _, known := range []bool{true, false} {
		var file bytes.Buffer
		if err := p.write(&file, known); err != nil {
			t.Fatal(err)
		}
		var limits []int
		for line := range strings.Lines(file.String()) {
			var l struct {
				Body struct {
					MaxTokens int `json:"max_tokens"`
				}
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			limits = append(limits, l.Body.MaxTokens)
		}
		want := slices.Repeat([]int{4000}, 100)
		if known {
			want = p.lengths
		}
		if !slices.Equal(limits, want) {
			t.Errorf("length known %v: got max_tokens %v, want %v", known, limits, want)
		}
		if !strings.Contains(file.String(), "[[sim:tokens=200]]") || strings.Count(file.String(), "[[sim:tokens=4000]]") != 2 {
			t.Errorf("length known %v: the servers are not told the lengths", known)
		}
	}
}
