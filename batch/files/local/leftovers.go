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

// staleAge is the time since the last write after which an unfinished content counts
// as left by a crash.
const staleAge = 24 * time.Hour

// removeLeftovers removes unfinished contents. The caller must hold the directory
// exclusively.
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

// removeStale removes unfinished contents that are no longer being written. It is
// needed because instances that share the directory may never open it exclusively.
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
