package batch

import "testing"

// TestCSVText checks what spreadsheets would evaluate.
func TestCSVText(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "|calc", "%0A", " =1", "'=1"} {
		if got := CSVText(text); got != "'"+text {
			t.Errorf("CSVText(%q) is %q, want an apostrophe before it", text, got)
		}
	}
	for _, text := range []string{"", " ", "batch_1", "a=1", "http://gpu:8000", "é"} {
		if got := CSVText(text); got != text {
			t.Errorf("CSVText(%q) is %q, want it unchanged", text, got)
		}
	}
}
