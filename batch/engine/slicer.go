package engine

import (
	"cmp"
	"slices"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// slicer divides lines into slices.
type slicer struct {
	slices  []batch.SlicePlan
	longest []int // expected tokens of the longest line of each slice, 0 if not known
	lines   int
	lengths order.Lengths
}

// add adds a line that is expected to generate a number of tokens, 0 if not known.
func (s *slicer) add(line openai.Line, tokens int) {
	s.lengths.Add(tokens)
	s.lines++
	if n := len(s.slices); n > 0 {
		last := &s.slices[n-1]
		// Blank lines between two slices belong to none.
		length := line.Offset + line.Length - last.Offset
		if last.Lines < batch.SliceLines && length <= batch.SliceBytes {
			last.Lines++
			last.Length = length
			s.longest[n-1] = max(s.longest[n-1], tokens)
			return
		}
	}
	s.slices = append(s.slices, batch.SlicePlan{Offset: line.Offset, Length: line.Length, FirstLine: s.lines - 1, Lines: 1})
	s.longest = append(s.longest, tokens)
}

// order returns the numbers of the slices in the order in which they are queued. Slices
// with much longer lines than others come first, so that the batch does not end with
// one of these lines running alone.
func (s *slicer) order() []int {
	numbers := make([]int, len(s.slices))
	for i := range numbers {
		numbers[i] = i
	}
	long := func(i int) int {
		if !s.lengths.Long(s.longest[i]) {
			return 0
		}
		return s.longest[i]
	}
	slices.SortStableFunc(numbers, func(a, b int) int { return cmp.Compare(long(b), long(a)) })
	return numbers
}
