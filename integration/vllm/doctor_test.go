package vllm

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The doctor finds nothing wrong with two idle servers and reports as unknown what
// vLLM does not report.
func (s *suite) doctor(t *testing.T) {
	gateway := s.serve(t)
	printed, err := exec.CommandContext(t.Context(), tidegatetest.Binary(t), "doctor", "--server", gateway.URL, "--json").Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		t.Errorf("the status is %d, want 0", exit.ExitCode())
	} else if err != nil {
		t.Fatal(err)
	}
	var report doctor.Report
	if err := json.Unmarshal(printed, &report); err != nil {
		t.Fatalf("%v:\n%s", err, printed)
	}
	// The end of a check's name, and its verdict.
	want := map[string]doctor.Verdict{
		s.servers[0].URL + ": state": doctor.Passed, s.servers[1].URL + ": state": doctor.Passed,
		s.servers[0].URL + ": prefix caching": doctor.Passed, s.servers[1].URL + ": prefix caching": doctor.Passed,
		// vLLM accepts a priority with every scheduling policy.
		s.servers[0].URL + ": priority scheduling": doctor.Unknown, s.servers[1].URL + ": priority scheduling": doctor.Unknown,
		// It reports no max_num_seqs: the limit is found.
		s.servers[0].URL + ": max_num_seqs": doctor.Passed, s.servers[1].URL + ": max_num_seqs": doctor.Passed,
		model + ": context length": doctor.Passed, model + ": version": doctor.Passed,
	}
	for _, c := range report.Checks {
		if c.Area != doctor.Upstreams {
			continue
		}
		t.Logf("%s: %s: %s", c.Verdict, c.Name, c.Found)
		verdict, known := want[c.Name]
		delete(want, c.Name)
		switch {
		case known && c.Verdict != verdict:
			t.Errorf("%s is %s (%s), want %s", c.Name, c.Verdict, c.Found, verdict)
		case !known && c.Verdict != doctor.Passed && c.Verdict != doctor.Unknown:
			t.Errorf("%s is %s: %s", c.Name, c.Verdict, c.Found)
		case strings.HasSuffix(c.Name, ": state") && !strings.Contains(c.Found, "vLLM 0."):
			t.Errorf("%s is %q, without a version", c.Name, c.Found)
		}
	}
	for name := range want {
		t.Errorf("no check %q", name)
	}
}
