package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// Config is the configuration of a Store.
type Config struct {
	// Path of the database file. A missing directory is created. The lock
	// file is Path+".lock", and SQLite adds Path+"-wal" and Path+"-shm".
	Path string
	// Now is the database's clock, time.Now when nil.
	Now func() time.Time
}

// Store is a [batch.Store] in a SQLite file.
type Store struct {
	path string
	now  func() time.Time

	// life is read-locked by every operation and write-locked by Open and
	// Close, which therefore wait for running operations.
	life           sync.RWMutex
	lock           *lock // guarded by life; nil while the store is not open
	writer, reader *pool // guarded by life
}

// New makes a store that is not open. It does no I/O.
func New(c Config) *Store {
	s := &Store{path: c.Path, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// errOpen reports that Open was called on an open store.
var errOpen = errors.New("store is open already")

// Open locks, opens and migrates the database, and ends all leases, because their
// owners no longer run. It returns an error for a database that another process has
// open, that a newer version wrote (batch.ErrNewerSchema) or that is damaged.
func (s *Store) Open(ctx context.Context) error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.lock != nil {
		return errOpen
	}
	if err := s.open(ctx); err != nil {
		return errors.Join(fmt.Errorf("opening store %s: %w", s.path, s.translate(err)), s.close())
	}
	return nil
}

func (s *Store) open(ctx context.Context) error {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	if s.lock, err = acquire(path + ".lock"); err != nil {
		return err
	}
	if err := createFile(path); err != nil {
		return fmt.Errorf("making database file: %w", err)
	}
	if s.writer, err = openPool(ctx, path, writing); err != nil {
		return err
	}
	if err := s.writer.migrate(ctx, s.clock); err != nil {
		return err
	}
	if err := s.writer.prepare(ctx); err != nil {
		return err
	}
	if s.reader, err = openPool(ctx, path, reading); err != nil {
		return err
	}
	if err := s.reader.prepare(ctx); err != nil {
		return err
	}
	return s.writer.run(ctx, s.clock, func(t *tx) error { return t.endLeases(ctx) })
}

// Close waits for running operations and closes the database. It can be called again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if err := s.close(); err != nil {
		return fmt.Errorf("closing store %s: %w", s.path, s.translate(err))
	}
	return nil
}

// close undoes open, also after an incomplete one. The writer is closed last, so that
// it can truncate the write-ahead log.
func (s *Store) close() error {
	var errs []error
	for _, p := range []*pool{s.reader, s.writer} {
		if p != nil {
			errs = append(errs, p.close())
		}
	}
	s.reader, s.writer = nil, nil
	if s.lock != nil {
		errs = append(errs, s.lock.release())
	}
	s.lock = nil
	return errors.Join(errs...)
}

// createFile creates an empty database file that only its owner can read, and syncs
// its directory. SQLite creates its other files with the same permissions.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) { // a parent that we may not read: it is older than we are
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// clock returns the database's time, truncated to microseconds as in the stored format.
func (s *Store) clock() time.Time { return s.now().Truncate(time.Microsecond).UTC() }

// Now is the database's clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	err := s.read(ctx, "reading the clock", func(t *tx) error {
		now = t.now
		return nil
	})
	return now, err
}

var touchPing = writes(`UPDATE ping SET at = ?1 WHERE id = 1`)

// Ping writes a row: a full disk fails it too.
func (s *Store) Ping(ctx context.Context) error {
	return s.write(ctx, "pinging store", func(t *tx) error {
		_, err := t.exec(ctx, touchPing, store.Micros(t.now))
		return err
	})
}

// Capabilities implements batch.Store.
func (*Store) Capabilities() batch.StoreCapabilities { return batch.StoreCapabilities{} }

var _ batch.Store = (*Store)(nil)
