package cli

import (
	"context"
	"io"
)

// interruptible is a reader whose Read ends with a context, even while the wrapped reader
// waits for input. The pending read is then abandoned: a terminal has no other way, and
// the program is about to exit.
type interruptible struct {
	ctx context.Context
	r   io.Reader
	buf []byte
	err error // of the last Read; a terminal would continue after its end
}

type readResult struct {
	n   int
	err error
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.err != nil || len(p) == 0 {
		return 0, i.err
	}
	if i.buf == nil {
		i.buf = make([]byte, 64<<10)
	}
	buf := i.buf[:min(len(p), len(i.buf))] // p is the caller's again afterwards
	done := make(chan readResult, 1)
	go func() {
		n, err := i.r.Read(buf)
		done <- readResult{n, err}
	}()
	select {
	case <-i.ctx.Done():
		i.err = i.ctx.Err()
		return 0, i.err
	case r := <-done:
		i.err = r.err
		return copy(p, buf[:r.n]), r.err
	}
}
