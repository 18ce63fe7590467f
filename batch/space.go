package batch

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Space is what there is of room for contents, in bytes.
type Space struct {
	Total, Free int64
	Reserve     int64 // of Free, what is left free on purpose
}

// spareSpace is which part of the room is to be free besides the reserve.
const spareSpace = 0.1

// Full tells whether nothing is taken in any more.
func (s Space) Full() bool { return s.Free < s.Reserve }

// Filling tells whether that may be so soon.
func (s Space) Filling() bool {
	return !s.Full() && float64(s.Free-s.Reserve) < spareSpace*float64(s.Total)
}

func (s Space) String() string {
	return fmt.Sprintf("%s of %s are free, of which %s are kept in reserve", size(s.Free), size(s.Total), size(s.Reserve))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
