package images

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// fakeDocker stores containers as lines of a file and records its calls. The state of new
// ones is in the file "state", or in one with the container's name. It records a fault if
// fewer than two containers run.
const fakeDocker = `#!/bin/sh
cd "$STATE"
echo "$*" >> calls
case "$*" in
"compose build "*) ! grep . broken-build ;;
"compose ps --all --quiet "*) cat containers ended 2> /dev/null || : ;;
"compose ps --quiet "*) cat containers ;;
"compose up "*)
	[ ! -e no-new ] || exit 0
	want=${7#*=}
	n=$(grep -c . containers)
	while [ "$n" -lt "$want" ]; do
		n=$((n + 1))
		echo "new$(grep -c 'compose up' calls)" >> containers
	done
	;;
"inspect "*) cat "$4" 2> /dev/null || case $4 in old*) echo "running healthy 0" ;; *) cat state ;; esac ;;
"logs "*) echo "log of $4" ;;
"stop "*)
	[ "$(grep -c . containers)" -gt 2 ] || echo "too few" >> faults
	[ ! -e new1-dies ] || echo "restarting unhealthy 1" > new1
	;;
"rm --"*)
	for id; do :; done
	grep -v "^$id$" containers > rest
	mv rest containers
	;;
*) echo "unknown: $*" >> faults; exit 1 ;;
esac
`

// roll is deploy/roll with a fakeDocker that keeps its state in files.
type roll struct {
	*exec.Cmd
	out   bytes.Buffer
	state string
}

// rolling prepares a roll of two containers; files are more of fakeDocker's.
func rolling(t *testing.T, files map[string]string, args ...string) *roll {
	t.Helper()
	r := &roll{state: t.TempDir()}
	for name, text := range map[string]string{"containers": "old1\nold2\n", "state": "running healthy 0\n"} {
		if files[name] == "" {
			r.write(t, name, text)
		}
	}
	for name, text := range files {
		r.write(t, name, text)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(fakeDocker), 0o700); err != nil {
		t.Fatal(err)
	}
	r.Cmd = exec.CommandContext(t.Context(), filepath.Join(tidegatetest.Root(t), "deploy/roll"), args...)
	r.Dir = t.TempDir() // any directory will do
	r.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "STATE=" + r.state, "ROLL_TIMEOUT=1"}
	r.Stdout, r.Stderr = &r.out, &r.out
	return r
}

func (r *roll) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.state, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *roll) read(t *testing.T, name string) string {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(r.state, name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(got)
}

// roll replaces each container and never stops one before a new one is healthy. It
// stops with the reason at the first that does not become healthy, and as many
// containers run then as before.
func TestRoll(t *testing.T) {
	for name, c := range map[string]struct {
		files      map[string]string
		args       []string
		code       int
		containers string // afterwards
		says       string
	}{
		"healthy":            {nil, nil, 0, "new1\nnew2\n", "2 of 2 containers of gateway are replaced"},
		"worker":             {nil, []string{"worker"}, 0, "new1\nnew2\n", "2 of 2 containers of worker are replaced"},
		"an old one is sick": {map[string]string{"old1": "running unhealthy 3\n"}, nil, 0, "new1\nnew2\n", "2 of 2"},
		"never healthy":      {map[string]string{"state": "running starting 0\n"}, nil, 1, "old1\nold2\n", "it is not healthy after 1 s (running starting 0)"},
		"unhealthy":          {map[string]string{"state": "running unhealthy 0\n"}, nil, 1, "old1\nold2\n", "it is not healthy after 1 s (running unhealthy 0)"},
		"crashes":            {map[string]string{"state": "restarting starting 2\n"}, nil, 1, "old1\nold2\n", "it does not stay up (restarting starting 2)"},
		"crashed once":       {map[string]string{"state": "running starting 1\n"}, nil, 1, "old1\nold2\n", "it does not stay up (running starting 1)"},
		"ended":              {map[string]string{"state": "exited unhealthy 0\n"}, nil, 1, "old1\nold2\n", "it does not stay up (exited unhealthy 0)"},
		"no check":           {map[string]string{"state": "running unchecked 0\n"}, nil, 1, "old1\nold2\n", "it has no health check"},
		"the first dies":     {map[string]string{"new1-dies": "yes"}, nil, 1, "old2\nnew2\n", "it does not stay up (restarting unhealthy 1)"},
		"none is started":    {map[string]string{"no-new": "yes"}, nil, 1, "old1\nold2\n", "no new container"},
		"build fails":        {map[string]string{"broken-build": "yes"}, nil, 1, "old1\nold2\n", ""},
		"nothing runs":       {map[string]string{"containers": "\n"}, nil, 1, "\n", "no container of gateway runs: docker compose up -d"},
		"a stopped one":      {map[string]string{"ended": "dead\n"}, nil, 1, "old1\nold2\n", "docker compose rm gateway"},
		"a database":         {nil, []string{"postgres"}, 1, "old1\nold2\n", "postgres cannot have two containers"},
		"help":               {nil, []string{"--help"}, 0, "old1\nold2\n", "usage: deploy/roll [SERVICE]"},
		"a flag":             {nil, []string{"--all"}, 2, "old1\nold2\n", "usage: deploy/roll [SERVICE]"},
		"two services":       {nil, []string{"gateway", "worker"}, 2, "old1\nold2\n", "usage: deploy/roll [SERVICE]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rolling(t, c.files, c.args...)
			err := r.Run()
			if code := r.ProcessState.ExitCode(); code != c.code || !strings.Contains(r.out.String(), c.says) {
				t.Errorf("it ended with %d (%v), want %d and %q\n%s", code, err, c.code, c.says, r.out.String())
			}
			if got := r.read(t, "containers"); got != c.containers {
				t.Errorf("the containers are\n%swant\n%s", got, c.containers)
			}
			if got := r.read(t, "faults"); got != "" {
				t.Error(got)
			}
			if calls := r.read(t, "calls"); c.code == 0 && calls != "" && !strings.Contains(calls, " up -d --no-deps --no-recreate --scale "+strings.Fields(calls)[2]+"=3 ") {
				t.Errorf("docker was called with\n%s", calls)
			}
			if logged := strings.Contains(r.out.String(), "log of new"); logged != strings.Contains(c.says, "it ") && c.code == 1 {
				t.Errorf("the log of the container is shown: %t\n%s", logged, r.out.String())
			}
		})
	}
}

// TestRollInterrupted checks that roll, if interrupted while it waits, stops no container and
// prints the remaining ones.
func TestRollInterrupted(t *testing.T) {
	r := rolling(t, map[string]string{"state": "running starting 0\n"})
	r.Env = append(r.Env, "ROLL_TIMEOUT=600")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, time.Minute, "the new container to be looked at", func() bool {
		return strings.Contains(r.read(t, "calls"), "inspect ")
	})
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := r.Wait()
	if want := "may have one container more than before; docker compose up -d"; err == nil || !strings.Contains(r.out.String(), want) {
		t.Errorf("got %v, want %q\n%s", err, want, r.out.String())
	}
	if got := r.read(t, "containers"); got != "old1\nold2\nnew1\n" {
		t.Errorf("the containers are\n%s", got)
	}
}

// The scripts that operators run are free of what shellcheck finds, where it is there,
// and say what they are for.
func TestScripts(t *testing.T) {
	for _, name := range []string{"deploy/roll", "deploy/endpoint-test"} {
		file := filepath.Join(tidegatetest.Root(t), name)
		if info, err := os.Stat(file); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s cannot be executed: %v %v", name, info, err)
		}
		if out, err := exec.CommandContext(t.Context(), file, "--help").Output(); err != nil || !strings.HasPrefix(string(out), "usage: ") {
			t.Errorf("%s --help: %v\n%s", name, err, out)
		}
		check, err := exec.LookPath("shellcheck")
		if err != nil {
			continue
		}
		if out, err := exec.CommandContext(t.Context(), check, file).CombinedOutput(); err != nil {
			t.Errorf("shellcheck %s:\n%s", name, out)
		}
	}
}
