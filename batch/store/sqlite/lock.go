package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lock is the right to have the database open. The kernel ends it with the
// process, however that ends.
type lock struct{ file *os.File }

// acquire takes the lock without waiting. The file is never removed: another
// process may have it open and believe that its lock counts.
func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening lock file: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("another tidegate has the directory %s open", filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking database: %w", err), f.Close())
	}
	return &lock{f}, nil
}

func (l *lock) release() error { return l.file.Close() }
