package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/tidegate/tidegate/batch"
)

// disk has the operations that can fail because the disk is full.
type disk interface {
	// free returns the number of bytes that this process may still write below dir.
	free(dir string) (int64, error)
	createTemp(dir, prefix string) (file, error)
	rename(from, to string) error
	syncDir(dir string) error
}

// file is an unfinished content.
type file interface {
	io.WriteCloser
	Name() string
	Sync() error
}

type realDisk struct{}

func (realDisk) free(dir string) (int64, error) {
	_, free, err := diskSpace(dir)
	return free, err
}

func (realDisk) createTemp(dir, prefix string) (file, error) {
	return os.CreateTemp(dir, prefix) // mode 0600
}

func (realDisk) rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkSpace returns ErrNoSpace if writing n bytes would use space of the reserve.
func (f *Files) checkSpace(n int64) error {
	free, err := f.disk.free(f.dir)
	if err != nil {
		return fmt.Errorf("measuring free space: %w", err)
	}
	if free-n < f.reserve {
		return fmt.Errorf("%w: %d bytes are free below %s and %d are kept in reserve", batch.ErrNoSpace, free, f.dir, f.reserve)
	}
	return nil
}

// Capabilities implements batch.Files.
func (f *Files) Capabilities() batch.FilesCapabilities {
	return batch.FilesCapabilities{Place: f, Space: f}
}

// Space measures the disk.
func (f *Files) Space() (batch.Space, error) {
	total, free, err := diskSpace(f.dir)
	if err != nil {
		return batch.Space{}, fmt.Errorf("measuring free space: %w", err)
	}
	return batch.Space{Total: total, Free: free, Reserve: f.reserve}, nil
}

// mapped marks a full disk or quota as ErrNoSpace, and a shortage of the process or
// the machine, such as of file descriptors, as ErrUnavailable, because it is temporary
// and independent of the content.
func mapped(err error) error {
	for _, code := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
	}
	return err
}
