package vllmtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/internal/testprocess"
)

// Environment variables with the locations of vLLM and of models.
const (
	VenvVariable   = "TIDEGATE_VLLM_VENV"   // the virtual environment with vLLM
	ModelsVariable = "TIDEGATE_VLLM_MODELS" // the directory with a directory per model
)

const (
	readyLimit    = 8 * time.Minute  // from the start until it listens; 1 to 4 minutes were seen
	readyInterval = time.Second      // between two health checks while it loads
	stopLimit     = 30 * time.Second // from SIGTERM to the end
	shownLog      = 16 << 10         // bytes of the log that an error quotes
)

// MaxModelLen is the context length of every server, in tokens.
const MaxModelLen = 2048

// Options describe a server.
type Options struct {
	Model      string   // a directory of $TIDEGATE_VLLM_MODELS, and the name that it is served under
	MaxNumSeqs int      // requests that run at once
	Args       []string // further arguments of `vllm serve`
}

// Server is a vLLM server as a process. Its methods are called by one goroutine at
// a time, but for those that take a context.
type Server struct {
	URL   string // http://127.0.0.1:PORT
	Model string

	argv    []string
	env     []string
	dir     string // its home and its log
	process *testprocess.Process
}

// Installed reports whether the environment names an installation of vLLM.
func Installed() bool { return os.Getenv(VenvVariable) != "" }

// Launch starts a server and returns at once. It refuses connections for minutes;
// AwaitReady waits for it.
func Launch(o Options) (*Server, error) {
	venv, models := os.Getenv(VenvVariable), os.Getenv(ModelsVariable)
	if venv == "" || models == "" {
		return nil, fmt.Errorf("%s and %s must be set: run scripts/test-vllm", VenvVariable, ModelsVariable)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vllmtest")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	s := &Server{
		URL: "http://" + net.JoinHostPort(loopback, port), Model: o.Model, dir: dir,
		argv: append([]string{
			filepath.Join(venv, "bin", "vllm"), "serve", filepath.Join(models, o.Model),
			"--served-model-name", o.Model, "--host", loopback, "--port", port,
			"--dtype", "bfloat16", "--enforce-eager",
			"--max-model-len", strconv.Itoa(MaxModelLen), "--max-num-seqs", strconv.Itoa(o.MaxNumSeqs),
		}, o.Args...),
		env: append(os.Environ(), "HOME="+dir, "PATH="+filepath.Join(venv, "bin")+":"+os.Getenv("PATH"),
			"VLLM_TARGET_DEVICE=cpu", "VLLM_CPU_KVCACHE_SPACE=1", // GiB
			"VLLM_CPU_OMP_THREADS_BIND=nobind", "OMP_NUM_THREADS=1",
			"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "VLLM_NO_USAGE_STATS=1"),
	}
	if err := s.Relaunch(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

const loopback = "127.0.0.1"

// freePort returns a free port. In practice no other process takes it, although the
// server binds it only when its model is loaded: the kernel assigns ports in another
// order.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, errors.Join(err, listener.Close())
}

// Relaunch starts a server that has ended again at its address, as Launch does.
func (s *Server) Relaunch() error {
	cmd := exec.Command(s.argv[0], s.argv[1:]...)
	cmd.Env, cmd.Dir = s.env, s.dir
	// The HTTP server ends its engine on SIGTERM. Killed, it would leave the engine running.
	process, err := testprocess.Start(cmd, s.LogFile(), syscall.SIGTERM)
	s.process = process
	return err
}

// AwaitReady waits until the server answers health checks.
func (s *Server) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		if s.healthy(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.process.Ended():
			return fmt.Errorf("vLLM ended at its start: %w\n%s", s.process.Err(), s.Log())
		case <-ctx.Done():
			return fmt.Errorf("vLLM does not listen on %s: %w\n%s", s.URL, ctx.Err(), s.Log())
		}
	}
}

func (s *Server) healthy(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/health", nil)
	if err != nil {
		return false
	}
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// client keeps no connection open, because a restarted server closes old ones.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Args are the arguments of `vllm serve` after the model's directory.
func (s *Server) Args() []string { return s.argv[3:] }

// Ended is closed when the process is gone.
func (s *Server) Ended() <-chan struct{} { return s.process.Ended() }

// Stop ends the server and its workers, gracefully if it can.
func (s *Server) Stop() error {
	workers, err := descendants(s.process.Pid)
	if err != nil {
		return err
	}
	for _, pid := range workers { // a stopped process does not notice the end of its parent
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may be gone
	}
	_ = s.process.Signal(syscall.SIGTERM) // it may be gone
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-s.process.Ended():
	case <-limit.C:
		_ = s.process.Kill()
		<-s.process.Ended()
	}
	for _, pid := range workers {
		if ours(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	}
	return nil
}

// Close ends the server and removes its directory.
func (s *Server) Close() error { return errors.Join(s.Stop(), os.RemoveAll(s.dir)) }

// LogFile returns the path of the server's log, over all its starts.
func (s *Server) LogFile() string { return filepath.Join(s.dir, "log") }

// Log returns the end of the server's log.
func (s *Server) Log() string {
	text, err := os.ReadFile(s.LogFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-shownLog):])
}
