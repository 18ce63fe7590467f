package testprocess

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

func TestStart(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start(exec.Command("sh", "-c", "echo out; echo error >&2; exit 3"), log, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if err := p.Err(); err == nil || err.Error() != "exit status 3" || !p.HasEnded() {
		t.Errorf("ended %t with %v, want exit status 3", p.HasEnded(), err)
	}
	text, err := os.ReadFile(log)
	if err != nil || string(text) != "out\nerror\n" {
		t.Errorf("the log is %q (%v), want both outputs", text, err)
	}
	if _, err := Start(exec.Command(filepath.Join(t.TempDir(), "none")), log, syscall.SIGKILL); err == nil {
		t.Error("a program that does not exist was started")
	}
}
