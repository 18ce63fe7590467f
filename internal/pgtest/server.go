package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidegate/tidegate/internal/testprocess"
)

// patience limits the start and the stop of a server.
const patience = 60 * time.Second

// Server is a PostgreSQL of the test's own. Its methods are called by one
// goroutine at a time, but for URL and NewDatabase.
type Server struct {
	bin, dir string
	port     int
	settings []string
	account  *syscall.Credential // nil: that of the test

	process *testprocess.Process
	serial  atomic.Int64
}

// New starts a server; settings are additional "name=value" pairs. PostgreSQL
// refuses to run as root, so root runs it as postgres or nobody. The caller closes it.
func New(settings ...string) (_ *Server, err error) {
	s := &Server{settings: settings}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	if s.account, err = account(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, fmt.Errorf("making a directory for PostgreSQL: %w", err)
	}
	if err := s.initialize(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// Start starts a server for one test.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := New(settings...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// ProgramsVariable is the environment variable that names the folder with
// PostgreSQL's programs. Without it they are those of initdb in PATH, and
// without that the newest below /usr/lib/postgresql.
const ProgramsVariable = "TIDEGATE_POSTGRES"

// programs is the folder of PostgreSQL's programs.
func programs() (string, error) {
	if named := os.Getenv(ProgramsVariable); named != "" {
		if _, err := exec.LookPath(filepath.Join(named, "initdb")); err != nil {
			return "", fmt.Errorf("searching PostgreSQL in the folder of %s: %w", ProgramsVariable, err)
		}
		return named, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errors.New("PostgreSQL is not installed: no initdb in PATH or below /usr/lib/postgresql (apt-get install postgresql)")
	}
	version := func(path string) int {
		n, err := strconv.Atoi(strings.Split(path, "/")[4])
		if err != nil {
			return 0
		}
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// account returns the account that PostgreSQL runs as, nil for that of the test.
func account() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("reading the account %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no account postgres or nobody")
}

func (s *Server) initialize() error {
	if s.account != nil {
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return fmt.Errorf("giving away the directory: %w", err)
		}
	}
	command := exec.Command(filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", "tidegate", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	command.Dir = s.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	if printed, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("making a PostgreSQL: %w\n%s", err, printed)
	}
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Start starts a server that was stopped, on the same port.
func (s *Server) Start() error {
	if s.port == 0 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("looking for a port: %w", err)
		}
		s.port = free.Addr().(*net.TCPAddr).Port
		if err := free.Close(); err != nil {
			return err
		}
	}
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port)}
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB",
	}, s.settings...) {
		args = append(args, "-c", setting)
	}
	command := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	command.Dir = s.dir
	command.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	process, err := testprocess.Start(command, filepath.Join(s.dir, "log"), Immediate)
	if err != nil {
		return err
	}
	s.process = process
	return s.await()
}

// await waits until the server answers.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return c.Close(ctx)
		}
		select {
		case <-s.process.Ended():
			text, reading := s.Log()
			return errors.Join(fmt.Errorf("PostgreSQL ended at its start:\n%s", text), reading)
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL returns the URL of a database of the server.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://tidegate@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Addr is host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// making is held while a database is made: PostgreSQL copies its template for
// one at a time.
var making sync.Mutex

// NewDatabase creates an empty database and returns its URL.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	return s.create(tb, "template1")
}

// CopyDatabase creates a copy of the database of a URL, to which no connection is open, and
// returns its URL.
func (s *Server) CopyDatabase(tb testing.TB, original string) string {
	tb.Helper()
	u, err := url.Parse(original)
	if err != nil {
		tb.Fatal(err)
	}
	return s.create(tb, strings.TrimPrefix(u.Path, "/"))
}

func (s *Server) create(tb testing.TB, template string) string {
	tb.Helper()
	making.Lock()
	defer making.Unlock()
	name := fmt.Sprintf("test_%d", s.serial.Add(1))
	s.Exec(tb, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+template)
	return s.URL(name)
}

// Exec runs a statement in a database.
func (s *Server) Exec(tb testing.TB, database, sql string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		tb.Fatalf("connecting to PostgreSQL: %v", err)
	}
	_, err = c.Exec(ctx, sql)
	if err := errors.Join(err, c.Close(ctx)); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// Ways to stop a server
// (https://www.postgresql.org/docs/current/server-shutdown.html).
const (
	Fast      = syscall.SIGINT  // connections are cut, transactions rolled back
	Immediate = syscall.SIGQUIT // as a crash: the next start recovers
)

// Stop stops the server and waits until it is gone.
func (s *Server) Stop(how syscall.Signal) error {
	if err := s.process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	select {
	case <-s.process.Ended():
		return nil
	case <-time.After(patience):
		return errors.Join(errors.New("PostgreSQL did not stop"), s.process.Kill())
	}
}

// Demote restarts the server as a standby without a primary, until it is
// promoted (https://www.postgresql.org/docs/current/hot-standby.html).
func (s *Server) Demote() error {
	if err := s.Stop(Fast); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.data(), "standby.signal"), nil, 0o600); err != nil {
		return fmt.Errorf("demoting PostgreSQL: %w", err)
	}
	return s.Start()
}

// Restrict makes the server require a password from a role.
func (s *Server) Restrict(role string) error {
	path := filepath.Join(s.data(), "pg_hba.conf")
	rules, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading who may connect: %w", err)
	}
	rule := fmt.Sprintf("host all %s 127.0.0.1/32 scram-sha-256\n", role)
	if err := os.WriteFile(path, append([]byte(rule), rules...), 0o600); err != nil { // keeps its owner
		return fmt.Errorf("writing who may connect: %w", err)
	}
	return s.Restart(Fast)
}

// Log returns the log of the server since its creation.
func (s *Server) Log() ([]byte, error) { return os.ReadFile(filepath.Join(s.dir, "log")) }

// Restart stops the server and starts it again.
func (s *Server) Restart(how syscall.Signal) error {
	if err := s.Stop(how); err != nil {
		return err
	}
	return s.Start()
}

// Close stops the server and removes all that it wrote.
func (s *Server) Close() error {
	return errors.Join(s.Stop(Immediate), os.RemoveAll(s.dir))
}
