package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// unit is the unit of systemd: the values of each directive.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	directives := map[string][]string{}
	for line := range strings.Lines(read(t, "deploy/tidegate.service")) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Fatalf("no directive: %q", line)
		}
		directives[name] = append(directives[name], value)
	}
	return directives
}

// systemd waits longer than the gateway takes to stop, and its commands exist.
func TestUnit(t *testing.T) {
	u := unit(t)
	stop, err := time.ParseDuration(u["TimeoutStopSec"][0])
	if err != nil {
		t.Fatal(err)
	}
	if grace := time.Duration(*load(t).Services["gateway"].StopGracePeriod); stop < grace {
		t.Errorf("systemd waits %s, and Docker %s", stop, grace)
	}
	for _, directive := range []string{"ExecStart", "ExecReload"} {
		argv := strings.Fields(u[directive][0])
		if argv[0] != "/usr/local/bin/tidegate" {
			t.Errorf("%s runs %s", directive, argv[0])
		}
		help, err := exec.CommandContext(t.Context(), tidegatetest.Binary(t), argv[1], "--help").CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v", directive, err)
		}
		for _, arg := range argv[2:] {
			if strings.HasPrefix(arg, "--") && !strings.Contains(string(help), arg+" ") {
				t.Errorf("%s: tidegate %s has no flag %s", directive, argv[1], arg)
			}
		}
	}
	data, dir := "", "/var/lib/"+u["StateDirectory"][0]
	for _, line := range u["Environment"] {
		for pair := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(pair, "=")
			if name == "TIDEGATE_ADMIN" {
				socket, private := strings.CutSuffix(strings.TrimPrefix(value, "unix/"), "|0600")
				if value = socket; !private {
					t.Errorf("other users may open the admin endpoint %s", value)
				}
			}
			if !strings.HasPrefix(value, dir) {
				t.Errorf("%s=%s is outside of %s, which is all that may be written", name, value, dir)
			}
			if name == "TIDEGATE_DATA" {
				data = value
			}
		}
	}
	if !strings.Contains(strings.Join(u["Environment"], " "), "TIDEGATE_ADMIN=unix/") {
		t.Error("systemctl reload finds no admin endpoint")
	}
	if data == "" {
		t.Error("TIDEGATE_DATA is not set")
	}
	for name, want := range map[string]string{"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "DynamicUser": "yes", "PrivateTmp": "yes", "Type": "notify"} {
		if got := u[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %v, want %s", name, got, want)
		}
	}
	// The Go runtime and the gateway raise the limit of descriptors.
	if filter := strings.Join(u["SystemCallFilter"], " "); strings.Contains(filter, "@resources") {
		t.Errorf("the filter of system calls %q stops the program at its start", filter)
	}
}

// The unit is one for systemd, where there is a systemd to ask.
func TestUnitByItself(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze here")
	}
	file := filepath.Join(t.TempDir(), "tidegate.service")
	text := strings.ReplaceAll(read(t, "deploy/tidegate.service"), "/usr/local/bin/tidegate", tidegatetest.Binary(t))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	if about := regexp.MustCompile(`(?m)^.*tidegate\.service.*$`).FindString(string(out)); err != nil || about != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
