package money

import (
	"encoding/json"
	"math"
	"testing"
)

func TestJSON(t *testing.T) {
	for text, want := range map[string]Amount{
		"12.5": 12_500_000_000, "0.000000001": 1, "0": 0, "1000000000": 1_000_000_000 * Unit, "9223372036.854775807": math.MaxInt64,
	} {
		var got Amount
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
		if back, err := json.Marshal(want); err != nil || string(back) != text {
			t.Errorf("%d: got %s, %v, want %s", want, back, err, text)
		}
	}
	for _, text := range []string{"-1", "1e3", `"1"`, "0.0000000001", "9223372036.854775808", "true"} {
		var got Amount
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: got %s, want an error", text, got)
		}
	}
}
