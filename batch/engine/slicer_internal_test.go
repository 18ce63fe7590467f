package engine

import (
	"slices"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// TestSlicerOrder checks that slices with long lines are queued first.
func TestSlicerOrder(t *testing.T) {
	t.Parallel()
	const lines = 4 * batch.SliceLines
	for name, c := range map[string]struct {
		tokens func(line int) int
		want   []int
	}{
		"not known":                {func(int) int { return 0 }, []int{0, 1, 2, 3}},
		"all alike":                {func(int) int { return 100 }, []int{0, 1, 2, 3}},
		"nearly alike":             {func(line int) int { return 100 + line/2 }, []int{0, 1, 2, 3}},
		"the last line":            {func(line int) int { return 100 + line/(lines-1)*1000 }, []int{3, 0, 1, 2}},
		"one in the third slice":   {func(line int) int { return 100 + 10*(line%2) + line/130*1000*(1-line/131) }, []int{2, 0, 1, 3}},
		"some longer ones":         {func(line int) int { return 1 + (line%batch.SliceLines)/63*1000*(line/batch.SliceLines) }, []int{3, 2, 1, 0}},
		"the long one alone known": {func(line int) int { return line / (lines - 1) * 1000 }, []int{0, 1, 2, 3}},
	} {
		var s slicer
		for i := range lines {
			s.add(openai.Line{Number: i + 1, Offset: int64(i), Length: 1}, c.tokens(i))
		}
		if got := s.order(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
