package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const placeName = "place"

// Place returns the identifier that is stored in the directory. Instances compare it to
// check that they use the same directory, independent of its path.
func (f *Files) Place(context.Context) (string, error) {
	path := filepath.Join(f.dir, placeName)
	word, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.writePlace(path); err != nil {
			return "", fmt.Errorf("naming directory of files: %w", mapped(err))
		}
		word, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("reading name of directory of files: %w", err)
	}
	if len(word) == 0 {
		return "", fmt.Errorf("reading name of directory of files: %s is empty; remove it while no gateway runs", path)
	}
	return "local " + strings.TrimSpace(string(word)), nil
}

// writePlace writes a new word, unless another instance was quicker.
func (f *Files) writePlace(path string) error {
	tmp, err := f.disk.createTemp(f.tmp(), "place-")
	if err != nil {
		return err
	}
	_, err = tmp.Write([]byte(rand.Text() + "\n"))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	return errors.Join(err, os.Remove(tmp.Name()), f.disk.syncDir(f.dir))
}
