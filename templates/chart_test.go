package templates

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

func number(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestScale(t *testing.T) {
	for _, tt := range []struct {
		values    []float64
		top, step float64
		unit      Unit
	}{
		{nil, 1, 1, Numbers},
		{[]float64{0}, 1, 1, Numbers},
		{[]float64{1}, 1, 1, Numbers},
		{[]float64{3}, 3, 1, Numbers},
		{[]float64{37}, 40, 20, Numbers},
		{[]float64{100}, 100, 50, Numbers},
		{[]float64{36_700}, 40_000, 20_000, Numbers},
		{[]float64{.25}, .3, .1, Seconds},
		{[]float64{1e12}, 1e12, 5e11, Numbers},
	} {
		c := Chart{Unit: tt.unit, Series: []Series{{}}}
		for _, v := range tt.values {
			c.Columns = append(c.Columns, Column{Values: []float64{v}})
		}
		top, step := c.scale()
		if math.Abs(top-tt.top) > 1e-9*tt.top || math.Abs(step-tt.step) > 1e-9*tt.step {
			t.Errorf("%v: to %v by %v, want %v by %v", tt.values, top, step, tt.top, tt.step)
		}
		if n := len(c.marks()); n < 2 || n > 5 {
			t.Errorf("%v has %d marks", tt.values, n)
		}
	}
}

// What stands in a column adds up to its height, and nothing is without one.
func TestStacks(t *testing.T) {
	c := Chart{
		Series: []Series{{"a", "live"}, {"b", "batch"}},
		Columns: []Column{
			{Name: "one", Values: []float64{30, 70}},
			{Name: "two", Values: []float64{0, 0}},
			{Name: "three", Missed: true, Values: []float64{9, 9}},
			{Name: "four", Values: []float64{.0001, 50}},
		},
		Top: 100,
	}
	stacks := c.stacks()
	if len(stacks) != 4 {
		t.Fatal(len(stacks))
	}
	first := stacks[0]
	if number(t, first.bars[0].height)+number(t, first.bars[1].height) != plotHeight || number(t, first.bars[1].y) != plotTop {
		t.Errorf("100 of 100 is %+v", first.bars)
	}
	if first.title != "one\na 30\nb 70" || stacks[2].title != "three\nnot measured" {
		t.Errorf("says %q, %q", first.title, stacks[2].title)
	}
	if len(stacks[1].bars) != 0 || len(stacks[2].bars) != 0 {
		t.Error("nothing has bars")
	}
	if number(t, stacks[3].bars[0].height) < 1 {
		t.Error("something is not to be seen")
	}
	var width float64
	for _, s := range stacks {
		width += number(t, s.width)
	}
	if width != 100 {
		t.Errorf("columns are %v %% wide together", width)
	}
}

func TestProgressBar(t *testing.T) {
	p := ProgressBar{Total: 100_000, Completed: 99_990, Failed: 1, InFlight: 9}
	var x float64
	for _, part := range p.parts() {
		if got := number(t, part.x); math.Abs(got-x) > .01 {
			t.Errorf("%s begins at %v, not %v", part.tone, got, x)
		}
		x += number(t, part.width)
	}
	if x > 100 {
		t.Errorf("it is %v %% wide", x)
	}
	if (ProgressBar{}).parts() != nil || (ProgressBar{}).percent() != "–" {
		t.Error("nothing has parts")
	}
}
