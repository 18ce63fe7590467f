package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tidegate/tidegate/batch"
)

// translate maps errors of SQLite to those of package batch
// (https://www.sqlite.org/rescode.html). Other errors are unchanged, including
// those of contexts.
func (s *Store) translate(err error) error {
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		if errors.Is(err, unix.ENOSPC) {
			return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
		}
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", batch.ErrConflict, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
	case sqlite3.SQLITE_IOERR:
		// A lack of space does not only affect writes: SQLite also maps
		// and syncs files.
		if s.diskFull() {
			return fmt.Errorf("%w: %w", batch.ErrNoSpace, err)
		}
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: %w", batch.ErrUnavailable, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the database %s is damaged; restore it from a backup or move it away: %w", s.path, err)
	default:
		return err
	}
}

// diskFull reports whether the database's file system has no block left.
func (s *Store) diskFull() bool {
	var fs unix.Statfs_t
	return unix.Statfs(filepath.Dir(s.path), &fs) == nil && fs.Bavail == 0
}

// nothingToRollBack reports whether a ROLLBACK failed because SQLite had rolled
// back by itself, as it does after some errors, a full disk among them
// (https://www.sqlite.org/lang_transaction.html#response_to_errors_within_a_transaction).
func nothingToRollBack(err error) bool {
	e, ok := errors.AsType[*driver.Error](err)
	return ok && e.Code() == sqlite3.SQLITE_ERROR
}
