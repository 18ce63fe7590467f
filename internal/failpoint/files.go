package failpoint

import (
	"context"
	"errors"
	"io"

	"github.com/tidegate/tidegate/batch"
)

// Files puts the points before and after the calls to files.
func (s *Set) Files(inner batch.Files) batch.Files {
	plain := &files{inner, s}
	if placed, ok := inner.(batch.Placed); ok {
		return &placedFiles{plain, placed}
	}
	return plain
}

// placedFiles keeps what files that several gateways share offer besides.
type placedFiles struct {
	*files
	batch.Placed
}

type files struct {
	batch.Files
	set *Set
}

func (s *files) Create(ctx context.Context, key string) (batch.FileWriter, error) {
	if err := s.set.hit("files.Create", before); err != nil {
		return nil, err
	}
	w, err := s.Files.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := s.set.hit("files.Create", after); err != nil {
		return nil, errors.Join(err, w.Abort()) // nobody has it who could
	}
	return &fileWriter{w, s.set}, nil
}

type fileWriter struct {
	batch.FileWriter
	set *Set
}

func (s *fileWriter) Write(p []byte) (int, error) {
	return get(s.set, "files.Write", func() (int, error) { return s.FileWriter.Write(p) })
}

func (s *fileWriter) Commit(ctx context.Context) error {
	return s.set.do("files.Commit", func() error { return s.FileWriter.Commit(ctx) })
}

func (s *fileWriter) Abort() error {
	return s.set.do("files.Abort", s.FileWriter.Abort)
}

func (s *files) Open(ctx context.Context) error {
	return s.set.open(ctx, "files.Open", s.Files)
}

func (s *files) Delete(ctx context.Context, key string) error {
	return s.set.do("files.Delete", func() error { return s.Files.Delete(ctx, key) })
}

func (s *files) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	return get(s.set, "files.Read", func() (io.ReadCloser, error) { return s.Files.Read(ctx, key, offset, length) })
}
