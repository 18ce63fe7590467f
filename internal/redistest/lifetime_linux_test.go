package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPanicLeavesNoProcess(t *testing.T) {
	program, err := os.Executable()
	must(t, err)
	child := exec.CommandContext(t.Context(), program)
	child.Env = append(os.Environ(), panicInChild+"=1", "TMPDIR="+t.TempDir())
	printed, err := child.Output()
	if err == nil {
		t.Fatal("the child did not panic")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(printed)))
	must(t, err)
	for deadline := time.Now().Add(10 * time.Second); runs(pid); {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is left", pid)
		}
	}
}

// runs reports whether a process exists and is not a zombie.
func runs(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(status), ") Z ")
}
