package tidegatetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startLimit = 60 * time.Second // until a server answers; generous, as machines are shared
	stopLimit  = 45 * time.Second // beyond the gateway's drain timeout of 25 s
	shownLog   = 24 << 10         // bytes of a log that are shown for a test that failed
)

// process is a server of a test. It can be started again after it ended. Its
// methods are called by one goroutine at a time.
type process struct {
	name  string // of its log
	ready string // URL that answers 200 once the server can be used
	argv  []string
	env   []string

	log     string // path; later starts append to it
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process is gone and err is set
	err     error         // of Wait
	mayExit bool          // the test expects it to exit
}

// startProcess starts a server, waits until it can be used, and has it ended
// with the test.
func startProcess(tb testing.TB, p *process) {
	tb.Helper()
	dir := tb.TempDir()
	p.log = filepath.Join(dir, p.name+".log")
	p.env = append(cleanEnv(), append([]string{
		"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "NO_COLOR=1",
	}, p.env...)...)
	tb.Cleanup(func() { p.cleanup(tb) })
	p.start(tb)
}

// cleanEnv returns the environment without variables that configure the program.
func cleanEnv() []string {
	var env []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "TIDEGATE_") && !strings.HasPrefix(name, "XDG_") && name != "HOME" {
			env = append(env, pair)
		}
	}
	return env
}

func (p *process) start(tb testing.TB) {
	tb.Helper()
	p.launch(tb)
	if p.ready == "" {
		return
	}
	ready := Poll(startLimit, func() bool { return p.gone() || p.answers() })
	switch {
	case p.gone():
		tb.Fatalf("%s ended at its start: %v\n%s", p.name, p.err, p.logTail())
	case !ready:
		tb.Fatalf("%s was not ready (%s) after %s", p.name, p.ready, startLimit)
	}
}

// launch starts the process without waiting.
func (p *process) launch(tb testing.TB) {
	tb.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		tb.Fatalf("making a log: %v", err)
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = p.env
	cmd.SysProcAttr = endWithTest()
	err = errors.Join(cmd.Start(), log.Close())
	if err != nil {
		tb.Fatalf("starting %s: %v", p.name, err)
	}
	p.cmd, p.ended, p.mayExit = cmd, make(chan struct{}), false
	go func(ended chan struct{}) { // ends with the process, which cleanup ends
		p.err = cmd.Wait()
		close(ended)
	}(p.ended)
}

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, nil)
	if err != nil {
		return false
	}
	answer, err := probes.Do(request)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// probes keeps no connection open, because a restarted server closes old ones.
var probes = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// PID is the process id.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal and returns at once; Wait waits for the end of the process.
func (p *process) Signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	p.mayExit = true
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Fatalf("sending %s to %s: %v", sig, p.name, err)
	}
}

// Wait waits until the process has ended and returns its exit code, -1 for a
// signal. It fails the test, with the stacks of all goroutines in the log, if
// that takes too long.
func (p *process) Wait(tb testing.TB) int {
	tb.Helper()
	p.mayExit = true
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(stopLimit):
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // for the stacks; it may end just now
	if !Poll(5*time.Second, p.gone) {
		p.Kill(tb)
	}
	tb.Fatalf("%s did not end within %s", p.name, stopLimit)
	return 0
}

// Stop ends the process gracefully: SIGTERM, and an exit code of 0.
func (p *process) Stop(tb testing.TB) {
	tb.Helper()
	p.Signal(tb, syscall.SIGTERM)
	if code := p.Wait(tb); code != 0 {
		tb.Fatalf("%s ended with %d: %v", p.name, code, p.err)
	}
}

// Kill ends the process as a crash does: SIGKILL.
func (p *process) Kill(tb testing.TB) {
	tb.Helper()
	p.Signal(tb, syscall.SIGKILL)
	<-p.ended
}

// Start starts the process again after it has ended, at the same address and
// with the same data, and waits until it can be used.
func (p *process) Start(tb testing.TB) {
	tb.Helper()
	if !p.gone() {
		tb.Fatalf("%s still runs", p.name)
	}
	p.start(tb)
}

// Launch restarts the process after it has ended, without waiting.
func (p *process) Launch(tb testing.TB) {
	tb.Helper()
	if !p.gone() {
		tb.Fatalf("%s still runs", p.name)
	}
	p.launch(tb)
}

// Restart stops the process gracefully and starts it again.
func (p *process) Restart(tb testing.TB) {
	tb.Helper()
	p.Stop(tb)
	p.start(tb)
}

// Use has later starts run another program with the same arguments.
func (p *process) Use(binary string) { p.argv[0] = binary }

// Unset removes a variable from the environment of later starts.
func (p *process) Unset(name string) {
	p.env = slices.DeleteFunc(p.env, func(pair string) bool { return strings.HasPrefix(pair, name+"=") })
}

// MayExit allows the process to exit from now on.
func (p *process) MayExit() { p.mayExit = true }

// Log returns the output of the process so far, over all its starts.
func (p *process) Log(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(p.log)
	if err != nil {
		tb.Fatalf("reading a log: %v", err)
	}
	return string(text)
}

func (p *process) logTail() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Appendf(nil, "its log cannot be read: %v", err)
	}
	if len(text) > shownLog {
		text = append([]byte("…"), text[len(text)-shownLog:]...)
	}
	return text
}

// fatalWords mark failures of a Go program that no test may accept.
var fatalWords = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE"}

func (p *process) cleanup(tb testing.TB) {
	if p.cmd == nil {
		return
	}
	if p.gone() && !p.mayExit {
		tb.Errorf("%s ended by itself: %v", p.name, p.err)
	}
	if !p.gone() {
		p.Signal(tb, syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(stopLimit):
			tb.Errorf("%s did not end within %s", p.name, stopLimit)
			p.Kill(tb)
		}
	}
	text, err := os.ReadFile(p.log)
	if err != nil {
		tb.Errorf("reading a log: %v", err)
	}
	for _, word := range fatalWords {
		if bytes.Contains(text, []byte(word)) {
			tb.Errorf("%s printed %q", p.name, word)
		}
	}
	if tb.Failed() {
		tb.Logf("log of %s:\n%s", p.name, p.logTail())
	}
}
