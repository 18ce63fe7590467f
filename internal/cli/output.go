package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

// toStdout is the path of standard output.
const toStdout = "-"

// results has the paths for the results of a batch. Empty paths are for none.
type results struct {
	output string
	errs   string // if empty, next to output, unless that is standard output
}

func (r results) errorPath() string {
	if r.errs != "" || r.output == "" || r.output == toStdout {
		return r.errs
	}
	return strings.TrimSuffix(r.output, filepath.Ext(r.output)) + ".errors.jsonl"
}

// check checks that the paths can be written, before there are results.
func (r results) check() error {
	errs := r.errorPath()
	if r.errs != "" && r.output == "" {
		return errors.New("--errors requires --output")
	}
	if errs != "" && filepath.Clean(errs) == filepath.Clean(r.output) {
		return fmt.Errorf("results and errors cannot both go to %s", errs)
	}
	return errors.Join(checkOutput(r.output), checkOutput(errs))
}

// save writes results and errors of a batch that has ended. It removes an old errors file,
// which would appear to belong to this batch.
func (s *session) save(ctx context.Context, b openai.Batch, r results) error {
	if b.Status == "failed" {
		return nil // no line ran
	}
	if err := s.saveFile(ctx, b.OutputFileID, r.output); err != nil {
		return err
	}
	errs := r.errorPath()
	switch {
	case errs == "" && b.ErrorFileID != nil:
		fmt.Fprintf(s.err, "not every line completed: the errors are in %s, --errors FILE writes them\n", *b.ErrorFileID)
		return nil
	case errs == "":
		return nil
	case b.ErrorFileID == nil && r.errs == "":
		if err := os.Remove(errs); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing old errors: %w", err)
		}
		return nil
	default:
		return s.saveFile(ctx, b.ErrorFileID, errs)
	}
}

// saveSoFar writes the results and errors of a batch that are durable now.
func (s *session) saveSoFar(ctx context.Context, b openai.Batch, r results) error {
	for _, f := range []struct {
		part client.Part
		path string
	}{{client.PartOutput, r.output}, {client.PartErrors, r.errorPath()}} {
		if f.path == "" {
			continue
		}
		if err := s.write(f.path, func(w io.Writer) error {
			_, err := s.SoFar(ctx, b.ID, f.part, w)
			return err
		}); err != nil {
			return err
		}
		if f.path != toStdout && !s.json {
			fmt.Fprintln(s.err, "wrote", f.path)
		}
	}
	return nil
}

// saveFile writes a file of the gateway, or an empty file if there is none.
func (s *session) saveFile(ctx context.Context, id *string, path string) error {
	err := s.write(path, func(w io.Writer) error {
		if id == nil {
			return nil
		}
		_, err := s.Download(ctx, *id, w)
		return err
	})
	if err == nil && path != toStdout && !s.json {
		fmt.Fprintln(s.err, "wrote", path)
	}
	return err
}

// write has content write a file completely or not at all, or to standard output.
func (s *session) write(path string, content func(io.Writer) error) error {
	if path == toStdout {
		return content(s.content())
	}
	// Through a symbolic link, not in place of it.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeInto(path, content)
	}
	f, err := createBeside(path)
	if err != nil {
		return err
	}
	err = fill(f, content)
	if err == nil && info != nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// writeInto writes to a device or a pipe, which cannot be replaced by renaming.
func writeInto(path string, content func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(content(f), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func fill(f *os.File, content func(io.Writer) error) error {
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := content(buffered); err != nil {
		return err
	}
	return errors.Join(buffered.Flush(), f.Sync())
}

// createBeside makes an empty file where path will be, with the rights that a
// new file gets.
func createBeside(path string) (*os.File, error) {
	return os.Create(filepath.Join(filepath.Dir(path), ".tidegate-"+rand.Text()))
}

// checkOutput finds out whether a file can be written.
func checkOutput(path string) error {
	if path == "" || path == toStdout {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil {
		if info.IsDir() {
			return fmt.Errorf("%s is a directory", path)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
	}
	f, err := createBeside(path)
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
