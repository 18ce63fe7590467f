package main

import (
	"testing"
	"time"
)

// TestParts checks the parts of a makespan on a gateway that has run another batch before.
// It finds parts that count the lines of that batch, or that do not add up to the makespan.
func TestParts(t *testing.T) {
	created := time.Unix(1e9, 0)
	at := func(seconds float64) time.Time { return created.Add(time.Duration(seconds * float64(time.Second))) }
	seen := []linesSeen{
		{at(0.1), 10, 10, [2]int{16, 16}},
		{at(0.5), 14, 10, [2]int{16, 32}},
		{at(1), 18, 14, [2]int{32, 64}},
		{at(2), 20, 19, [2]int{64, 128}},
		{at(3), 20, 20, [2]int{128, 128}},
	}
	got := partsOf(seen, created, at(3.25), 10, 10, 2)
	want := batchParts{Planning: 1, Sending: 3, Ending: 2, Output: 0.5, Limits: [2][2]int{{16, 32}, {64, 128}}}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestJobAfter checks that a job that runs before another one leaves nothing in the caches
// that this one could use, and that its tokens do not count.
func TestJobAfter(t *testing.T) {
	server := startEngine(t, 4000)
	for _, l := range smallJob.grouped() {
		if err := postWhole(t.Context(), server.addr, smallJob.after().body(l)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := fleet{server}.counts(t.Context(), smallJob.size())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := smallJob.sticky(t.Context(), fleet{server}, 1); err != nil {
		t.Fatal(err)
	}
	got, err := fleet{server}.counts(t.Context(), 2*smallJob.size())
	if err != nil {
		t.Fatal(err)
	}
	got.subtract(&before)
	if want := float64(smallJob.unique().Computed); got.Computed != want || got.Requests != float64(smallJob.size()) {
		t.Errorf("got %+v, want %.0f tokens computed of %d requests", got, want, smallJob.size())
	}
}
