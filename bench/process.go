package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	name string
	addr string // host:port
	cmd  *exec.Cmd
	log  string // path of what it printed
}

// freeAddr gives a loopback address that nobody listens on now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs a server and waits until GET path on addr answers 200.
func (b *bench) start(ctx context.Context, name, addr, path string, argv ...string) (*process, error) {
	log, err := os.Create(filepath.Join(b.dir, name+"-"+addr[strings.LastIndexByte(addr, ':')+1:]+".log"))
	if err != nil {
		return nil, fmt.Errorf("making log file: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir, "HOME="+b.dir)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, addr: addr, cmd: cmd, log: log.Name()}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if answer, err := http.Get("http://" + addr + path); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			text, _ := os.ReadFile(p.log)
			p.stop()
			return nil, fmt.Errorf("%s does not answer on %s; it printed: %s", name, addr, bytes.TrimSpace(text))
		}
	}
}

// stop ends the server and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(40 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// pids are the process and its children (nginx's workers).
func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	if err == nil {
		for field := range strings.FieldsSeq(string(children)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// clockTick is the unit of processor times in /proc, USER_HZ, which is 100 on
// every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the server and its children have used, user
// and system together (proc(5): fields 14 and 15 of stat).
func (p *process) cpu() (time.Duration, error) {
	var total time.Duration
	for _, pid := range p.pids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("reading processor time of %s: %w", p.name, err)
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
		for _, f := range fields[11:13] {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading processor time of %s: %w", p.name, err)
			}
			total += time.Duration(n) * clockTick
		}
	}
	return total, nil
}

// memory is a line of /proc/PID/status in bytes: VmRSS is what the server has
// now, VmHWM the most it ever had.
func (p *process) memory(line string) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	for l := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(l, line+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no %s in the status of %s", line, p.name)
}

// model is the model that every simulated server has.
const model = "bench"

// startSim runs a simulated server.
func (b *bench) startSim(ctx context.Context, args ...string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return b.start(ctx, "sim", addr, "/health", append([]string{b.tidegate, "sim", "--listen", addr, "--model", model}, args...)...)
}

// startGateway runs a gateway on embedded defaults in a directory of its own.
func (b *bench) startGateway(ctx context.Context, upstreams []*process, args ...string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp(b.dir, "data-")
	if err != nil {
		return nil, fmt.Errorf("making data directory: %w", err)
	}
	argv := []string{b.tidegate, "serve", "--listen", addr, "--data", data}
	for _, u := range upstreams {
		argv = append(argv, "--upstream", "http://"+u.addr)
	}
	return b.start(ctx, "gateway", addr, "/ready", append(argv, args...)...)
}
