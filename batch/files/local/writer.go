package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tidegate/tidegate/batch"
)

// writeBuffer is the number of bytes that are buffered before they are written.
const writeBuffer = 256 << 10

// Create begins a content in Dir/tmp.
func (f *Files) Create(_ context.Context, key string) (batch.FileWriter, error) {
	final, err := f.path(key)
	if err != nil {
		return nil, err
	}
	if err := f.checkSpace(0); err != nil {
		return nil, err
	}
	file, err := f.disk.createTemp(f.tmp(), key+"-")
	if err != nil {
		return nil, fmt.Errorf("creating file %s: %w", key, mapped(err))
	}
	w := &writer{files: f, key: key, final: final, file: file}
	w.buf = bufio.NewWriterSize(writerFunc(w.writeThrough), writeBuffer)
	return w, nil
}

// writer writes one content. It is used by one goroutine.
type writer struct {
	files *Files
	key   string
	final string // final path
	file  file
	buf   *bufio.Writer
	ended bool
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (w *writer) writeThrough(p []byte) (int, error) {
	if err := w.files.checkSpace(int64(len(p))); err != nil {
		return 0, err
	}
	return w.file.Write(p)
}

// Write gathers bytes and writes them in larger pieces.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	if err != nil {
		return n, fmt.Errorf("writing file %s: %w", w.key, mapped(err))
	}
	return n, nil
}

// Commit syncs the content, renames it to its final path and syncs the directory. After
// an error the content does not exist.
func (w *writer) Commit(ctx context.Context) error {
	if w.ended {
		return fmt.Errorf("committing file %s: it has ended", w.key)
	}
	if err := w.commit(ctx); err != nil {
		return errors.Join(fmt.Errorf("committing file %s: %w", w.key, mapped(err)), w.Abort())
	}
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	if err := w.buf.Flush(); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	shard := filepath.Dir(w.final)
	if err := w.files.makeShard(shard); err != nil {
		return err
	}
	if err := w.files.disk.rename(w.file.Name(), w.final); err != nil {
		return err
	}
	w.ended = true
	if err := w.files.disk.syncDir(shard); err != nil {
		// It exists but may be lost in a power cut: remove it.
		return errors.Join(err, os.Remove(w.final), w.file.Close())
	}
	return w.file.Close()
}

// Abort removes the unfinished content.
func (w *writer) Abort() error {
	if w.ended {
		return nil
	}
	w.ended = true
	if err := errors.Join(w.file.Close(), os.Remove(w.file.Name())); err != nil {
		return fmt.Errorf("removing unfinished file: %w", err)
	}
	return nil
}

// makeShard makes a shard's directory durable, once.
func (f *Files) makeShard(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := filepath.Base(path)
	if f.shards[name] {
		return nil
	}
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	if err := f.disk.syncDir(f.dir); err != nil {
		return err
	}
	f.shards[name] = true
	return nil
}
