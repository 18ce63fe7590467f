package redistest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// panicInChild has the test program start a server and panic.
const panicInChild = "REDISTEST_PANIC"

func TestMain(m *testing.M) {
	if os.Getenv(panicInChild) != "" {
		s, err := New()
		if err != nil {
			panic(err)
		}
		fmt.Println(s.process.Pid)
		panic("on purpose")
	}
	goleak.VerifyTestMain(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, s *Server, args ...string) any {
	t.Helper()
	answer, err := s.Do(args...)
	must(t, err)
	return answer
}

func TestServerIsEmptyAfterRestart(t *testing.T) {
	s := Start(t, Options{Password: "secret"})
	address := s.Addr
	if got := do(t, s, "SET", "a", "1"); got != "OK" {
		t.Errorf("SET answered %v", got)
	}
	must(t, s.Restart())
	if got := do(t, s, "GET", "a"); got != nil || s.Addr != address {
		t.Errorf("after a restart at %s there is %v", s.Addr, got)
	}
	if got := do(t, s, "DBSIZE"); got != int64(0) {
		t.Errorf("DBSIZE answered %v", got)
	}
	must(t, s.Kill())
	if _, err := s.Do("PING"); err == nil {
		t.Error("a killed server answers")
	}
	must(t, s.Kill())
	must(t, s.Stop())
}

func TestPauseAndStop(t *testing.T) {
	s, err := New()
	must(t, err)
	must(t, s.Pause())
	must(t, s.Close()) // a paused one as well
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
}

func TestOverTLSAndAsACluster(t *testing.T) {
	s := Start(t, Options{TLS: Certificates(t), Cluster: true})
	do(t, s, "RPUSH", "list", "x", "", "two words")
	got, ok := do(t, s, "LRANGE", "list", "0", "-1").([]any)
	if !ok || !slices.Equal(got, []any{"x", "", "two words"}) {
		t.Errorf("LRANGE answered %v", got)
	}
	if _, err := s.Do("NONSENSE"); err == nil {
		t.Error("nonsense is no error")
	}
}

func TestMissingProgramFails(t *testing.T) {
	t.Setenv(ProgramVariable, "")
	t.Setenv("PATH", t.TempDir())
	if s, err := New(); err == nil {
		t.Errorf("a server was found: %v, %v", s, s.Close())
	}
}

// TestNamedProgram checks that the named program is used even if another is in PATH, and
// that a missing one is an error.
func TestNamedProgram(t *testing.T) {
	program, err := find()
	must(t, err)
	named := filepath.Join(t.TempDir(), "named")
	must(t, os.Symlink(program, named))
	t.Setenv(ProgramVariable, named)
	if info := do(t, Start(t), "INFO", "server"); !strings.Contains(info.(string), "executable:"+named+"\r\n") {
		t.Errorf("not %s runs: %s", named, info)
	}
	must(t, os.Remove(named))
	if s, err := New(); err == nil {
		t.Errorf("another server was taken: %v", s.Close())
	} else if !strings.Contains(err.Error(), named) {
		t.Error(err)
	}
}

func TestRefusedOptionFails(t *testing.T) {
	s, err := New(Options{Args: []string{"--nonsense", "1"}})
	if err == nil {
		t.Fatalf("nonsense was accepted: %v", s.Close())
	}
	if !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("error does not name the missing program: %v", err)
	}
}
