package engine

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// oldLoad is Load as gateways without Prefill have it.
type oldLoad struct {
	Live  int `json:"live"`
	Batch int `json:"batch"`
}

// TestLoadOfOtherVersions checks that gateways with and without Prefill read what the
// others announce.
func TestLoadOfOtherVersions(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]batch.Load{
		"nothing pending": {Live: 3, Batch: 2},
		"pending":         {Live: 3, Batch: 2, Prefill: 4000, LivePrefill: 1000},
	} {
		text, err := json.Marshal(map[string]batch.Load{"u": l})
		if err != nil {
			t.Fatal(err)
		}
		var old map[string]oldLoad
		if err := json.Unmarshal(text, &old); err != nil || old["u"] != (oldLoad{3, 2}) {
			t.Errorf("%s: an older gateway reads %v (%v) of %s", name, old, err, text)
		}
		var same map[string]batch.Load
		if err := json.Unmarshal(text, &same); err != nil || same["u"] != l {
			t.Errorf("%s: a gateway reads %v (%v) of %s, want %v", name, same, err, text, l)
		}
	}
	text, err := json.Marshal(map[string]oldLoad{"u": {3, 2}})
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]batch.Load
	if err := json.Unmarshal(text, &read); err != nil || read["u"] != (batch.Load{Live: 3, Batch: 2}) {
		t.Errorf("a gateway reads %v (%v) of an older one's %s", read, err, text)
	}
}

// TestSumLoads checks what several gateways have together.
func TestSumLoads(t *testing.T) {
	t.Parallel()
	got := sumLoads([]batch.Peer{
		{Loads: map[string]batch.Load{"u": {Live: 1, Batch: 2, Prefill: 300, LivePrefill: 100}, "v": {Batch: 1}}},
		{Loads: map[string]batch.Load{"u": {Live: 1, Prefill: 50, LivePrefill: 50}}},
		{Loads: map[string]batch.Load{"u": {Live: 2, Prefill: -7}}},
		{},
	})
	want := map[string]batch.Load{"u": {Live: 4, Batch: 2, Prefill: 350, LivePrefill: 150}, "v": {Batch: 1}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
