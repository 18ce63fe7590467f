package store

import (
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/batch"
)

// ErrBadPlan refuses a plan that a batch could not be finished by.
var ErrBadPlan = errors.New("plan does not add up")

// CheckPlan tells whether the slices of a plan have its lines, each once and
// in order. A batch ends when as many lines are done as the plan counts, so a
// wrong count would keep it running for ever.
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
