// Package testprocess runs the servers of tests as processes.
package testprocess

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a process that was started.
type Process struct {
	*os.Process
	ended chan struct{} // closed when the process has ended and err is set
	err   error         // of Wait
}

// Start starts a command, and appends its output to the file log. On Linux the kernel sends
// signal to the process when the test's own process dies without ending it, as on a panic
// or a timeout.
func Start(cmd *exec.Cmd, log string, signal syscall.Signal) (*Process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = endWithTest(cmd.SysProcAttr, signal)
	p := &Process{ended: make(chan struct{})}
	started := make(chan error)
	go func() { // until the process ends
		// The kernel sends the signal when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := errors.Join(cmd.Start(), output.Close())
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	p.Process = cmd.Process
	return p, nil
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err returns the error of a process that has ended.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// HasEnded reports whether the process has ended.
func (p *Process) HasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
