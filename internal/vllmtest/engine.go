package vllmtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// engineName is vLLM's name of the process with the scheduler, truncated to the 15 bytes
// that the kernel keeps. The process that Launch starts has the HTTP server only.
const engineName = "VLLM::EngineCor"

// workerPrefix begins the names of all of vLLM's processes but the first.
const workerPrefix = "VLLM::"

// EnginePID is the process id of the engine, which is a child of the HTTP server.
func (s *Server) EnginePID() (int, error) {
	all, err := descendants(s.process.Pid)
	if err != nil {
		return 0, err
	}
	for _, pid := range all {
		if name(pid) == engineName {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("vLLM (process %d) has no process %s", s.process.Pid, engineName)
}

// SignalEngine sends a signal to the engine: SIGSTOP makes it hang while the HTTP
// server answers health checks, SIGKILL makes it die.
func (s *Server) SignalEngine(sig syscall.Signal) error {
	pid, err := s.EnginePID()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("sending %s to the engine: %w", sig, err)
	}
	return nil
}

// name is the name of a process, "" if it is gone.
func name(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// ours reports whether a process is one of vLLM's and not another with the same id.
func ours(pid int) bool { return strings.HasPrefix(name(pid), workerPrefix) }

// descendants are the children of a process with all of theirs.
func descendants(pid int) ([]int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for the children of a process: %w", err)
	}
	var all []int
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the children of a process: %w", err)
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("reading the children of a process: %w", err)
			}
			below, err := descendants(child)
			if err != nil {
				return nil, err
			}
			all = slices.Concat(all, []int{child}, below)
		}
	}
	return all, nil
}

// gone reports that a process has ended.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
