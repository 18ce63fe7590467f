package redistest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/testprocess"
)

const (
	startLimit = 20 * time.Second // until a server answers; machines are shared
	stopLimit  = 10 * time.Second // from SIGTERM to the end
	pollGap    = 5 * time.Millisecond
	portTries  = 5 // another process may take a free port before the server does
	portSearch = 100
	shownLog   = 8 << 10
)

// Options are the options of a server. The zero value is a server without TLS and without
// a password.
type Options struct {
	Password string // requirepass; "" for none
	TLS      *TLS   // the server's port speaks TLS; nil for none
	Cluster  bool   // a cluster of one node that has all slots
	// SentinelOf makes the server a sentinel that watches another, whose name
	// is SentinelMaster, and replaces it soon after it died.
	SentinelOf *Server
	Args       []string // further ones
}

// SentinelMaster is the name that sentinels have for the server they watch.
const SentinelMaster = "main"

// TLS names PEM files.
type TLS struct{ CA, Cert, Key string }

// Server is a running server. Its methods are called by one goroutine at a
// time, Do excepted.
type Server struct {
	Addr string // host:port

	options Options
	program string
	dir     string
	port    int
	process *testprocess.Process
}

// Start starts a server that ends with the test. It takes at most one Options.
func Start(tb testing.TB, options ...Options) *Server {
	tb.Helper()
	s, err := New(options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", s.program, s.log())
		}
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// New starts a server for a TestMain, which closes it. It takes at most one
// Options.
func New(options ...Options) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redistest")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	s := &Server{program: program, dir: dir}
	if len(options) > 0 {
		s.options = options[0]
	}
	for try := 1; ; try++ {
		if s.port, err = s.choosePort(); err == nil {
			s.Addr = net.JoinHostPort(loopback, strconv.Itoa(s.port))
			err = s.start()
		}
		if err == nil {
			return s, nil
		}
		if try == portTries || !strings.Contains(s.log(), "Address already in use") {
			return nil, errors.Join(fmt.Errorf("%w\n%s", err, s.log()), s.Close())
		}
	}
}

// ProgramVariable is the environment variable that names the server's program,
// a path or a name in PATH. Without it redis-server is taken, and valkey-server
// where there is none.
const ProgramVariable = "TIDEGATE_REDIS"

// programs are the server programs, in the order of preference.
var programs = []string{"redis-server", "valkey-server"}

func find() (string, error) {
	if named := os.Getenv(ProgramVariable); named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("looking for the server that %s names: %w", ProgramVariable, err)
		}
		return path, nil
	}
	for _, name := range programs {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("these tests need a server: none of %s is installed", strings.Join(programs, ", "))
}

const (
	loopback = "127.0.0.1"
	slots    = 1 << 14 // of a cluster
)

func freePort() (int, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// busOffset is the distance of a cluster's bus port from the port
// (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/):
// only from 7.0 on it can be elsewhere.
const busOffset = 10000

// choosePort is a free port, for a cluster one with a free port for its bus.
func (s *Server) choosePort() (int, error) {
	if !s.options.Cluster {
		return freePort()
	}
	for range portSearch {
		bus, err := freePort()
		if err != nil {
			return 0, err
		}
		// Search from above, because a free bus port may be too high for the port below.
		port := bus - busOffset
		if port < 1024 {
			continue
		}
		listener, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("%d pairs of ports for a cluster were in use", portSearch)
}

func (s *Server) args() ([]string, error) {
	args := []string{"--bind", loopback, "--dir", s.dir, "--logfile", s.logFile(), "--daemonize", "no"}
	if s.options.SentinelOf != nil {
		file, err := s.sentinelFile()
		if err != nil {
			return nil, err
		}
		args = append([]string{file, "--sentinel"}, args...)
	} else {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	port := strconv.Itoa(s.port)
	if t := s.options.TLS; t != nil {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-ca-cert-file", t.CA,
			"--tls-cert-file", t.Cert, "--tls-key-file", t.Key, "--tls-auth-clients", "no")
	} else {
		args = append(args, "--port", port)
	}
	if s.options.Password != "" {
		args = append(args, "--requirepass", s.options.Password)
	}
	if s.options.Cluster {
		args = append(args, "--cluster-enabled", "yes")
	}
	return append(args, s.options.Args...), nil
}

// sentinelFile writes the configuration of a sentinel, which must be a file, because
// sentinels store their state in it.
func (s *Server) sentinelFile() (string, error) {
	file := filepath.Join(s.dir, "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]d 1\n"+
		"sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 5000\n",
		SentinelMaster, loopback, s.options.SentinelOf.port)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("configuring a sentinel: %w", err)
	}
	return file, nil
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// start starts the process and waits until it answers.
func (s *Server) start() error {
	args, err := s.args()
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: s.program, Args: append([]string{s.program}, args...)}
	// The log has errors before the server opens its own log file, too.
	if s.process, err = testprocess.Start(cmd, s.logFile(), syscall.SIGKILL); err != nil {
		return err
	}
	return s.awaitReady()
}

func (s *Server) awaitReady() error {
	for deadline := time.Now().Add(startLimit); ; time.Sleep(pollGap) {
		if s.gone() {
			return fmt.Errorf("%s ended at its start: %w", s.program, s.process.Err())
		}
		_, err := s.Do("PING")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s was not ready after %s: %w", s.program, startLimit, err)
		}
	}
	if !s.options.Cluster {
		return nil
	}
	assign := []string{"CLUSTER", "ADDSLOTS"} // by ranges only from 7.0 on
	for slot := range slots {
		assign = append(assign, strconv.Itoa(slot))
	}
	if _, err := s.Do(assign...); err != nil {
		return err
	}
	for deadline := time.Now().Add(startLimit); ; time.Sleep(pollGap) {
		info, err := s.Do("CLUSTER", "INFO")
		if err != nil {
			return err
		}
		if strings.Contains(info.(string), "cluster_state:ok") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s made no cluster within %s", s.program, startLimit)
		}
	}
}

func (s *Server) gone() bool { return s.process.HasEnded() }

// Stop ends the server gracefully. A server that is gone is no error.
func (s *Server) Stop() error {
	if s.process == nil || s.gone() {
		return nil
	}
	if err := errors.Join(s.Resume(), s.signal(syscall.SIGTERM)); err != nil {
		return err
	}
	limit := time.NewTimer(stopLimit)
	defer limit.Stop()
	select {
	case <-s.process.Ended():
		return nil
	case <-limit.C:
		return errors.Join(fmt.Errorf("%s did not end within %s", s.program, stopLimit), s.Kill())
	}
}

// Kill ends the server as a crash does.
func (s *Server) Kill() error {
	if s.process == nil || s.gone() {
		return nil
	}
	err := s.signal(syscall.SIGKILL)
	<-s.process.Ended()
	return err
}

// Restart starts the server again at its old address, empty. It ends it before
// if it still runs.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	return s.start()
}

// Pause stops the process with SIGSTOP: its connections stay open, but it does not respond.
func (s *Server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume continues a paused process.
func (s *Server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	if err := s.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %s to %s: %w", sig, s.program, err)
	}
	return nil
}

// Close ends the server and removes its directory.
func (s *Server) Close() error {
	return errors.Join(s.Stop(), os.RemoveAll(s.dir))
}

// URL is where the server is, password included, in the form of redis.ParseURL.
func (s *Server) URL() string {
	scheme, user := "redis", ""
	if s.options.Password != "" {
		user = url.UserPassword("", s.options.Password).String() + "@"
	}
	query := ""
	if s.options.TLS != nil {
		scheme, query = "rediss", "?ca_file="+url.QueryEscape(s.options.TLS.CA)
	}
	return scheme + "://" + user + s.Addr + "/0" + query
}

// log returns the end of the server's log.
func (s *Server) log() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-shownLog):])
}
