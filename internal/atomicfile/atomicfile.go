// Package atomicfile replaces files completely or not at all.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write writes a file that only its owner can read, in place of the present one, and makes
// the missing directories above it. After a crash the file has the old or the new content,
// which is durable when Write returns. Temporary files beside it are named .tidegate-*.
func Write(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tidegate-*") // for its owner only
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
