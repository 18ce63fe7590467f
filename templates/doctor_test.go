package templates

import "testing"

func TestFoldedChecks(t *testing.T) {
	area := CheckArea{Checks: []Check{{Verdict: "ok"}, {Verdict: "failed"}, {Verdict: "unknown"}}}
	if open, passed := area.folded(); len(open) != 3 || len(passed) != 0 {
		t.Errorf("few: %d open and %d folded, want 3 and 0", len(open), len(passed))
	}
	for range 8 {
		area.Checks = append(area.Checks, Check{Verdict: "ok"})
	}
	open, passed := area.folded()
	if len(open) != 2 || len(passed) != 9 {
		t.Errorf("many: %d open and %d folded, want 2 and 9", len(open), len(passed))
	}
	for _, c := range open {
		if c.Verdict == "ok" {
			t.Error("a passed check is among the open ones")
		}
	}
}
