package local

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Ping writes and removes a small file, and checks the free space and that every
// directory of contents is writable. A network file system may hang for hours: Ping
// does not wait longer than ctx, and at most one system call hangs at a time.
func (f *Files) Ping(ctx context.Context) error {
	select {
	case f.probing <- struct{}{}:
	case <-ctx.Done():
		return noAnswer(ctx)
	}
	answered := make(chan error, 1)
	go func() {
		answered <- f.probe()
		<-f.probing
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return noAnswer(ctx)
	}
}

func noAnswer(ctx context.Context) error {
	return fmt.Errorf("probing directory of files: its file system does not answer: %w", ctx.Err())
}

func (f *Files) probe() error {
	if err := f.checkSpace(0); err != nil {
		return err
	}
	probe, err := os.CreateTemp(f.tmp(), "ping-")
	if err != nil {
		return fmt.Errorf("probing directory of files: %w", mapped(err))
	}
	_, err = probe.WriteString("ping")
	if err = errors.Join(err, probe.Close(), os.Remove(probe.Name())); err != nil {
		return fmt.Errorf("probing directory of files: %w", mapped(err))
	}
	return f.checkWritable()
}
