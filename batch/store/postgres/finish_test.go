package postgres

import (
	"testing"
)

// TestLargePlan inserts a plan with more slices than one statement inserts: all
// slices must be stored in order.
func TestLargePlan(t *testing.T) {
	const total = 2*planChunk + 1
	s := opened(t, server.NewDatabase(t))
	b := running(t, s, total)
	for _, first := range []int{0, planChunk - 1, 2*planChunk - 1, total - 1} {
		slices, err := s.Slices(t.Context(), b.ID, first, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range slices {
			if number := first + i; got.Number != number || got.Offset != int64(number) || got.FirstLine != 64*number || got.Lines != 64 {
				t.Errorf("slice %d is %+v", number, got)
			}
		}
		if want := min(2, total-first); len(slices) != want {
			t.Errorf("%d slices from %d on, want %d", len(slices), first, want)
		}
	}
}
