package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tidegate/tidegate/batch"
)

// unusable marks errors of a directory that can be corrected without a change of the
// configuration as batch.ErrUnavailable.
func unusable(err error) error {
	for _, cause := range []error{fs.ErrPermission, syscall.EROFS, syscall.EIO, syscall.ESTALE, syscall.EMFILE, syscall.ENFILE, batch.ErrNoSpace} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
		}
	}
	return err
}

// checkWritable returns an error for the first directory that is not writable: the
// directory itself, or one of its shards. It does not write.
func (f *Files) checkWritable() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("probing directory of files: %w", err)
	}
	if err := mayWrite(f.dir); err != nil {
		return fmt.Errorf("directory of files %s cannot be written: %w", f.dir, err)
	}
	var bad []string
	var first error
	for _, e := range entries {
		if !isShard(e.Name()) {
			continue
		}
		path := filepath.Join(f.dir, e.Name())
		err := mayWrite(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is made when it is needed
		}
		if err == nil && !isDir(path) {
			err = syscall.ENOTDIR
		}
		if err == nil {
			continue
		}
		if first == nil {
			first = fmt.Errorf("%s: %w", path, err)
		}
		bad = append(bad, e.Name())
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d directories of contents are not writable, uploads and results in them fail: %w: make the gateway's user their owner, with mode 0700", len(bad), first)
	}
	return nil
}

// isDir reports whether a path leads to a directory.
func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
