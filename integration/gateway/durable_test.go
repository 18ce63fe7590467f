package gateway

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// TestToldIsDurable checks that data is durable before the response: every written file has
// been synced, and every directory in which one was created or renamed.
//
// A test cannot cut the power, and after kill -9 the kernel still writes data that was not
// synced. So this test checks the system calls.
func TestToldIsDurable(t *testing.T) {
	t.Parallel()
	trace := filepath.Join(t.TempDir(), "trace")
	sims := tidegatetest.StartSims(t, 1)
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Binary: traced(t, trace), Batch: "collect_interval 1h"})
	input := tidegatetest.BatchInput(t, 100, nil)
	file := g.Upload(t, "input.jsonl", input)
	done := g.WaitEnd(t, g.CreateBatch(t, file.ID).ID, time.Minute)
	g.Results(t, done, input)
	if status, _, err := g.Call(t.Context(), http.MethodDelete, "/v1/files/"+file.ID, "", nil); err != nil || status != http.StatusOK {
		t.Fatalf("deleting: %d, %v", status, err)
	}
	g.Stop(t)

	d := readTrace(t, trace, g.Data)
	for _, a := range answers {
		if d.answers[a] == 0 {
			t.Errorf("the trace has no answer with %s", a)
		}
	}
	if d.syncs < 5 || len(d.seen) < 3 {
		t.Errorf("the trace has only %d syncs and the files %q", d.syncs, d.seen)
	}
	for _, p := range d.problems {
		t.Error(p)
	}
}

// answers are searched in responses of 200: to an upload, of a batch that has ended, to a
// deletion. No other request is in flight then, so all written data belongs to them.
var answers = []string{`\"deleted\":true`, `\"object\":\"file\"`, `\"status\":\"completed\"`}

// traced is a program that runs tidegate and writes down its system calls.
func traced(t *testing.T, trace string) string {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatalf("this test needs strace (apt-get install strace): %v", err)
	}
	path := filepath.Join(t.TempDir(), "traced")
	// -D: the process is tidegate, and strace beside it. -y: paths of files.
	script := fmt.Sprintf("#!/bin/sh\nexec %s -D -f -qq -y -s 2048 -o %s -e trace=write,pwrite64,writev,fsync,fdatasync,rename,renameat,renameat2,openat,unlink,unlinkat %s \"$@\"\n",
		strace, trace, tidegatetest.Binary(t))
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// disk is the state of the files below a directory in a trace.
type disk struct {
	root     string
	now      int            // line of the trace
	written  map[string]int // path to the line of its last write, or of the last change to a directory
	began    map[string]int // by process and path, when a sync began that has not ended
	seen     []string       // files
	answers  map[string]int // how many of each there were
	syncs    int
	problems []string
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
	firstPath   = regexp.MustCompile(`^\d+<([^>]*)>`)
	succeeded   = regexp.MustCompile(`\) += \d`)
	quoted      = regexp.MustCompile(`"([^"]*)"`)
)

// readTrace replays a trace in the order of its events.
func readTrace(t *testing.T, path, root string) *disk {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := &disk{root: root, answers: make(map[string]int), written: make(map[string]int), began: make(map[string]int)}
	under := make(map[string]string) // process to the arguments of the call that has not ended
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		d.now++
		if m := resumedLine.FindStringSubmatch(lines.Text()); m != nil {
			d.end(m[1], m[2], under[m[1]], m[3])
			continue
		}
		m := callLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		d.begin(m[1], m[2], m[3])
		if args, cut := strings.CutSuffix(m[3], " <unfinished ...>"); cut {
			under[m[1]] = args
		} else {
			d.end(m[1], m[2], m[3], m[3])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

// ours reports whether a path must be durable. Unfinished contents, and the shared memory of
// SQLite, which it recreates, need not be.
func (d *disk) ours(path string) bool {
	below, ok := strings.CutPrefix(path, d.root+"/")
	return ok && !strings.Contains(below, "tmp/") && !strings.HasSuffix(below, "tmp") && !strings.HasSuffix(below, "-shm")
}

func (d *disk) touch(path string) {
	d.written[path] = d.now
	if !slices.Contains(d.seen, path) {
		d.seen = append(d.seen, path)
	}
}

func (d *disk) begin(pid, call, args string) {
	path := ""
	if m := firstPath.FindStringSubmatch(args); m != nil {
		path = m[1]
	}
	switch call {
	case "write", "writev", "pwrite64":
		if strings.HasPrefix(path, d.root+"/") {
			d.touch(path) // also below tmp: it may be renamed
		}
		if strings.HasPrefix(path, "socket:") || strings.HasPrefix(path, "TCP:") {
			d.answer(args)
		}
	case "fsync", "fdatasync":
		d.began[pid+path] = d.now
	}
}

func (d *disk) end(pid, call, args, rest string) {
	failed := !succeeded.MatchString(rest)
	path := ""
	if m := firstPath.FindStringSubmatch(args); m != nil {
		path = m[1]
	}
	names := quoted.FindAllStringSubmatch(args, -1)
	switch call {
	case "fsync", "fdatasync":
		if !failed && d.written[path] <= d.began[pid+path] {
			delete(d.written, path)
			d.syncs++
		}
		delete(d.began, pid+path)
	case "openat":
		if !failed && len(names) > 0 && strings.Contains(args, "O_CREAT") && !slices.Contains(d.seen, names[0][1]) && d.ours(names[0][1]) {
			d.touch(names[0][1])
			delete(d.written, names[0][1]) // empty as yet
			d.touch(filepath.Dir(names[0][1]))
		}
	case "rename", "renameat", "renameat2":
		if failed || len(names) != 2 {
			return
		}
		from, to := names[0][1], names[1][1]
		if at, dirty := d.written[from]; dirty {
			d.written[to] = at
		} else {
			delete(d.written, to)
		}
		delete(d.written, from)
		d.touch(filepath.Dir(to))
	case "unlink", "unlinkat":
		if !failed && len(names) > 0 {
			delete(d.written, names[0][1])
		}
	}
}

// answer checks that all data is synced at a response of 200.
func (d *disk) answer(args string) {
	which := slices.IndexFunc(answers, func(a string) bool { return strings.Contains(args, a) })
	if which < 0 || !strings.Contains(args, `"HTTP/1.1 200 OK`) {
		return
	}
	d.answers[answers[which]]++
	for path := range d.written {
		if d.ours(path) || path == d.root {
			d.problems = append(d.problems, fmt.Sprintf("line %d: an answer goes out, and %s was not synced since line %d", d.now, path, d.written[path]))
		}
	}
}
