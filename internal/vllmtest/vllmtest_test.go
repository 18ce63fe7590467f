package vllmtest

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestSample(t *testing.T) {
	for _, c := range []struct {
		line, name string
		value      float64
		refused    bool
	}{
		{`vllm:num_requests_running{engine="0",model_name="a b"} 3.0`, "vllm:num_requests_running", 3, false},
		{`process_open_fds 21`, "process_open_fds", 21, false},
		{`x{le="+Inf"} 1e+06`, "x", 1e6, false},
		{`nothing`, "", 0, true},
		{`x{} y`, "", 0, true},
	} {
		name, value, err := sample(c.line)
		if name != c.name || value != c.value || (err != nil) != c.refused {
			t.Errorf("sample(%q) is %q, %v, %v; want %q, %v", c.line, name, value, err, c.name, c.value)
		}
	}
}

func TestDescendants(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("needs Linux' /proc")
	}
	// The shell continues after its child was seen.
	shell := exec.CommandContext(t.Context(), "sh", "-c", "cat; :")
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // cat runs
		t.Fatal(err)
	}
	all, err := descendants(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(all))
	for _, pid := range all {
		names = append(names, name(pid))
	}
	if !slices.Contains(all, shell.Process.Pid) || !slices.Contains(names, "cat") {
		t.Errorf("descendants are %v (%q), want %d and a cat", all, names, shell.Process.Pid)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := shell.Wait(); err != nil {
		t.Fatal(err)
	}
	if all, err = descendants(shell.Process.Pid); err != nil || len(all) > 0 {
		t.Errorf("descendants of an ended process are %v, %v", all, err)
	}
}
