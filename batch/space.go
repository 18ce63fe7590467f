package batch

import (
	"fmt"

	"github.com/dustin/go-humanize"
)

// Space is the capacity for contents, in bytes.
type Space struct {
	Total, Free int64
	Reserve     int64 // of Free; no content may use it
}

// spareSpace is the part of Total below which free space, without Reserve, is low.
const spareSpace = 0.1

// Full reports whether new contents are refused.
func (s Space) Full() bool { return s.Free < s.Reserve }

// Filling reports whether Full may be true soon.
func (s Space) Filling() bool {
	return !s.Full() && float64(s.Free-s.Reserve) < spareSpace*float64(s.Total)
}

func (s Space) String() string {
	return fmt.Sprintf("%s of %s are free, of which %s are kept in reserve", size(s.Free), size(s.Total), size(s.Reserve))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
