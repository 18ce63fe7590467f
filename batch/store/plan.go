package store

import (
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
)

// ErrBadPlan reports a plan with which a batch could not finish.
var ErrBadPlan = errors.New("plan does not add up")

// CheckPlan checks that the slices of a plan have all of its lines, each once and
// in order. A batch ends when the planned number of lines is done, so with a wrong
// number it would never end.
func CheckPlan(p batch.Plan) error {
	lines := 0
	for i, s := range p.Slices {
		if s.Lines < 1 || s.Lines > batch.SliceLines || s.FirstLine != lines {
			return fmt.Errorf("%w: slice %d has %d lines from line %d on", ErrBadPlan, i, s.Lines, s.FirstLine)
		}
		lines += s.Lines
	}
	if lines == 0 || lines != p.Lines {
		return fmt.Errorf("%w: %d lines, but %d in its slices", ErrBadPlan, p.Lines, lines)
	}
	return nil
}
