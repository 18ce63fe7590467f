package gateway

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// examine runs `tidegate doctor` and returns its output and exit status.
func examine(t *testing.T, g *tidegatetest.Gateway, flags ...string) (printed string, status int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), tidegatetest.Binary(t), append([]string{"doctor", "--server", g.URL}, flags...)...)
	out, err := command.Output()
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case exited:
		return string(out), exit.ExitCode()
	case err != nil:
		t.Fatal(err)
	}
	return string(out), 0
}

// TestDoctorCommand checks that the command prints the checks of the dashboard, and that its
// exit status reports failures.
func TestDoctorCommand(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: []*tidegatetest.Sim{sim}})
	printed, status := examine(t, gateway)
	if status != 0 {
		t.Errorf("exit status for a healthy gateway: got %d, want 0:\n%s", status, printed)
	}
	for _, want := range []string{
		"API keys", "file descriptors", "lines at a time", "memory for requests", "store", "queue", "can be written", "disk space", "clock", "max_num_seqs",
		"prefix caching", "priority scheduling", "context length", "version", sim.URL, "→ Every client on this machine",
	} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not in\n%s", want, printed)
		}
	}
	sim.Kill(t)
	// A report is a few seconds old at most.
	tidegatetest.Eventually(t, time.Minute, "the doctor to find the server down", func() bool {
		printed, status = examine(t, gateway, "--json")
		return status != 0
	})
	if status != 2 {
		t.Errorf("the status for a server that is down is %d", status)
	}
	var report doctor.Report
	if err := json.Unmarshal([]byte(printed), &report); err != nil {
		t.Fatalf("%v:\n%s", err, printed)
	}
	failed := 0
	for _, c := range report.Checks {
		if c.Verdict == doctor.Failed {
			failed++
			if !strings.Contains(c.Name+c.Found, sim.URL) || c.Remedy == "" {
				t.Errorf("%+v", c)
			}
		}
	}
	if failed == 0 {
		t.Errorf("no check failed:\n%s", printed)
	}
	gateway.Stop(t)
	if printed, status := examine(t, gateway); status != 1 || printed != "" {
		t.Errorf("exit status without a gateway: got %d:\n%s", status, printed)
	}
}
