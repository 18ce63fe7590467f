//go:build unix

package cli

import (
	"context"
	"io"
	"os"
	"testing"
)

// A pseudo-terminal is a terminal, of no known size.
func TestRealTerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	t.Setenv("TERM", "xterm")
	if p := newProgress(terminal); !p.terminal || p.width() != usualWide {
		t.Errorf("terminal %t, %d columns", p.terminal, p.width())
	}
	t.Setenv("TERM", "dumb")
	if p := newProgress(terminal); p.terminal {
		t.Error("a dumb terminal cannot draw a bar")
	}
	pipe := piped(t, nil)
	if p := newProgress(pipe); p.terminal || p.width() != usualWide {
		t.Error("a pipe is no terminal")
	}
	// On a terminal the user gets a prompt.
	ctx, cancel := context.WithCancel(t.Context())
	asked := writerFunc(func() { cancel() })
	s := &session{in: terminal, err: asked}
	if err := interrupted(ctx, s.confirm(ctx, false, "Sure?")); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
	// No goroutine waits for the interrupted read, and closing does not end it, but
	// input on the terminal does.
	if _, err := terminal.WriteString("\n"); err != nil {
		t.Error(err)
	}
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return io.Discard.Write(p) }
