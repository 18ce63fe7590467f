//go:build linux || darwin

package local

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

var errLocked = errors.New("locked by another")

// lockFile locks a file until it is closed, exclusively or shared. The kernel releases
// the lock when the process dies. It returns errLocked if others hold a conflicting
// lock.
func lockFile(path string, shared bool) (*os.File, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, mapped(err)
	}
	err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// shareLock lets others share a lock that was held alone. It is lost when
// another was quicker to take it: errLocked.
func shareLock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// diskSpace returns the size of a disk and the space that is free for this user, in
// bytes.
func diskSpace(dir string) (total, free int64, err error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(dir, &s)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		size := uint64(s.Bsize) // of different types on different systems
		return int64(s.Blocks * size), int64(s.Bavail * size), nil
	}
}

// mayWrite returns an error when this process may not make files in a directory,
// as on a file system that is mounted read-only.
func mayWrite(dir string) error {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}
