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
	"strings"
	"syscall"
	"time"
)

// process is a server under measurement.
type process struct {
	name string
	addr string // host:port
	cmd  *exec.Cmd
	log  string // path of its output
}

// freeAddr returns a free loopback address.
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

// kill ends the server as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	_ = p.cmd.Wait()         // the error only reports the kill
}

// model is the model that every simulated server has.
const model = "bench"

// startSim runs a simulated server.
func (b *bench) startSim(ctx context.Context, args ...string) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return b.startSimAt(ctx, addr, args...)
}

// startSimAt starts a simulated server at an address, such as that of a previous one.
func (b *bench) startSimAt(ctx context.Context, addr string, args ...string) (*process, error) {
	return b.start(ctx, "sim", addr, "/health", append([]string{b.tidegate, "sim", "--listen", addr, "--model", model}, args...)...)
}

// startGateway starts a gateway with embedded defaults in a separate directory.
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
