package cli

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// Equal findings of many servers are one row; others keep their own.
func TestReportGroupsEqualFindings(t *testing.T) {
	same := client.Check{Area: "servers", Verdict: "warning", Found: "prefix caching is off", Remedy: "start vLLM with it"}
	report := client.Report{Checks: []client.Check{{Area: "store", Name: "SQLite", Verdict: "ok", Found: "answers"}}}
	for _, name := range []string{"http://gpu-0:8000", "http://gpu-1:8000", "http://gpu-2:8000", "http://gpu-3:8000"} {
		c := same
		c.Name = name
		report.Checks = append(report.Checks, c)
	}
	other := same
	other.Name, other.Found = "http://gpu-4:8000", "does not answer"
	report.Checks = append(report.Checks, other)

	var out strings.Builder
	printReport(&out, report)
	want := []string{
		"ok       store    SQLite                                            answers",
		"warning  servers  http://gpu-0:8000, http://gpu-1:8000 and 2 more   prefix caching is off",
		"                                                                    → start vLLM with it",
		"warning  servers  http://gpu-4:8000                                 does not answer",
		"                                                                    → start vLLM with it",
	}
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d:\n%s", len(got), len(want), out.String())
	}
	for i := range want {
		if strings.Join(strings.Fields(got[i]), " ") != strings.Join(strings.Fields(want[i]), " ") {
			t.Errorf("line %d: got %q, want %q", i+1, got[i], want[i])
		}
	}
}
