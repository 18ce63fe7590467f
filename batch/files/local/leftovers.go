package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// staleAge is for how long nobody must have written an unfinished content for
// it to be what a crash left.
const staleAge = 24 * time.Hour

// removeLeftovers removes what was never finished. Nobody else may have the
// directory.
func (f *Files) removeLeftovers() error {
	leftovers, err := os.ReadDir(f.tmp())
	if err != nil {
		return fmt.Errorf("reading unfinished files: %w", err)
	}
	for _, l := range leftovers {
		if err := os.RemoveAll(filepath.Join(f.tmp(), l.Name())); err != nil {
			return fmt.Errorf("removing unfinished file: %w", err)
		}
	}
	return nil
}

// removeStale removes what was not finished and is not written any more. Where
// several instances share the directory there may always be one, so that none
// ever opens it alone.
func (f *Files) removeStale(ctx context.Context) error {
	unfinished, err := os.ReadDir(f.tmp())
	if err != nil {
		return fmt.Errorf("reading unfinished files: %w", err)
	}
	for _, u := range unfinished {
		if err := ctx.Err(); err != nil {
			return err
		}
		info, err := u.Info()
		if errors.Is(err, fs.ErrNotExist) { // finished since
			continue
		}
		if err != nil {
			return fmt.Errorf("looking at unfinished file: %w", err)
		}
		if time.Since(info.ModTime()) < staleAge {
			continue
		}
		if err := os.Remove(filepath.Join(f.tmp(), u.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing unfinished file: %w", err)
		}
	}
	return nil
}
