//go:build !linux && !darwin

package local

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var errLocked = errors.New("locked by another")

func lockFile(string, bool) (*os.File, error) {
	return nil, fmt.Errorf("%w: files in a directory are kept on Linux and macOS only, not on %s", errors.ErrUnsupported, runtime.GOOS)
}

func shareLock(*os.File) error { return errors.ErrUnsupported }

func diskSpace(string) (total, free int64, err error) { return 0, 0, errors.ErrUnsupported }

func mayWrite(string) error { return errors.ErrUnsupported }
