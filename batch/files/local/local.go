// Package local keeps contents of files in a directory.
//
// A content is the file Dir/<shard>/<key>. The shard is two hex digits of a hash of
// the key, so that no directory grows without bound. A content is written to Dir/tmp
// first, synced, and renamed; then the directory is synced. Unfinished contents of a
// crash in Dir/tmp are removed by the next Open with an exclusive lock, otherwise by
// List, which the engine's cleaner calls once an hour, a day after the last write.
package local

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// DefaultReserve is the default of Config.Reserve.
const DefaultReserve = 64 << 20

// Config are the settings of Files. A zero field means its default.
type Config struct {
	// Dir is the directory; it is made if it does not exist. Only one live
	// instance can have it open, unless all of them share it.
	Dir string
	// Shared lets several instances have the directory open, on this machine
	// or on others that have the same file system mounted. The file system
	// must have locks (flock) and atomic renames, as NFS 4 has.
	Shared bool
	// Reserve is the number of bytes that stay free on the disk, so that a
	// database on the same disk can still write. With less free space no content
	// is created or written, and Ping returns an error. Default 64 MiB.
	Reserve int64
}

// Files is a batch.Files in a directory.
type Files struct {
	dir     string
	shared  bool
	reserve int64
	disk    disk

	probing chan struct{} // held by the running probe

	lock *os.File // held from Open to Close

	mu     sync.Mutex
	shards map[string]bool // guarded by mu; shards known to be durable
}

// New makes Files without touching the disk.
func New(cfg Config) *Files {
	if cfg.Reserve == 0 {
		cfg.Reserve = DefaultReserve
	}
	return &Files{dir: cfg.Dir, shared: cfg.Shared, reserve: cfg.Reserve, disk: realDisk{}, probing: make(chan struct{}, 1)}
}

const (
	tmpName  = "tmp"
	lockName = "lock"
	dirMode  = 0o700
	fileMode = 0o600
)

// Open creates the directory, locks it and removes unfinished contents of a crash,
// unless another instance that shares the directory may still be writing them.
//
// It returns batch.ErrUnavailable for a directory that this process may not use, or
// that is on a read-only file system, because an operator can correct this while the
// gateway serves live requests.
func (f *Files) Open(ctx context.Context) error {
	if f.dir == "" {
		return errors.New("opening files: no directory is given")
	}
	return unusable(f.open(ctx))
}

func (f *Files) open(ctx context.Context) error {
	if err := f.makeDir(f.tmp()); err != nil {
		return fmt.Errorf("making directory of files: %w", mapped(err))
	}
	lock, alone, err := f.lockDir(ctx)
	if err != nil {
		return err
	}
	if alone {
		err = f.removeLeftovers()
	}
	var shards map[string]bool
	if err == nil {
		shards, err = f.settle()
	}
	if err == nil && f.shared && alone {
		if err = shareLock(lock); errors.Is(err, errLocked) {
			return errors.Join(f.open(ctx), lock.Close()) // shards that were synced stay durable
		}
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	f.lock, f.shards = lock, shards
	return nil
}

// lockPause is the time between two attempts to lock a directory that another
// instance has just begun to share.
const lockPause = 20 * time.Millisecond

// lockDir locks the directory exclusively, or shared with other instances.
func (f *Files) lockDir(ctx context.Context) (lock *os.File, alone bool, err error) {
	path := filepath.Join(f.dir, lockName)
	for range 100 {
		lock, err = lockFile(path, false)
		if err == nil {
			return lock, true, nil
		}
		if f.shared && errors.Is(err, errLocked) {
			if lock, err = lockFile(path, true); err == nil {
				return lock, false, nil
			}
		}
		if !f.shared || !errors.Is(err, errLocked) {
			break
		}
		select { // an instance that is opening the directory holds an exclusive lock briefly
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-time.After(lockPause):
		}
	}
	if errors.Is(err, errLocked) {
		return nil, false, fmt.Errorf("locking directory of files: %s is in use by another live instance", f.dir)
	}
	return nil, false, fmt.Errorf("locking directory of files %s: %w", f.dir, mapped(err))
}

// settle syncs the existing shards, because the process that created them may have
// died before it synced them.
func (f *Files) settle() (shards map[string]bool, err error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("reading directory of files: %w", mapped(err))
	}
	shards = make(map[string]bool)
	for _, e := range entries {
		if e.IsDir() && isShard(e.Name()) {
			shards[e.Name()] = true
		}
	}
	if err := f.disk.syncDir(f.dir); err != nil {
		return nil, fmt.Errorf("syncing directory of files: %w", mapped(err))
	}
	return shards, nil
}

// makeDir makes a directory and its parents, and each that is new durable.
func (f *Files) makeDir(path string) error {
	_, err := os.Stat(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if err := f.makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.disk.syncDir(parent)
}

// Close releases the directory for another instance.
func (f *Files) Close() error {
	if f.lock == nil {
		return nil
	}
	err := f.lock.Close()
	f.lock = nil
	return err
}

// Read opens a content at offset.
func (f *Files) Read(_ context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("reading file %s: negative offset %d", key, offset)
	}
	content, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading file %s: %w", key, batch.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading file %s: %w", key, mapped(err))
	}
	if _, err := content.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("reading file %s: %w", key, mapped(err)), content.Close())
	}
	if length < 0 {
		return content, nil
	}
	return limited{io.LimitReader(content, length), content}, nil
}

// limited is a range of a content.
type limited struct {
	io.Reader
	io.Closer
}

// Delete removes a content.
func (f *Files) Delete(_ context.Context, key string) error {
	path, err := f.path(key)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting file %s: %w", key, mapped(err))
	}
	return nil
}

// List visits the contents shard by shard, and then removes unfinished contents of crashes.
func (f *Files) List(ctx context.Context, visit func(key string, modified time.Time) error) error {
	shards, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("listing files: %w", mapped(err))
	}
	for _, shard := range shards {
		if !shard.IsDir() || !isShard(shard.Name()) {
			continue
		}
		if err := f.listShard(ctx, shard.Name(), visit); err != nil {
			return err
		}
	}
	return f.removeStale(ctx)
}

func (f *Files) listShard(ctx context.Context, shard string, visit func(key string, modified time.Time) error) error {
	entries, err := os.ReadDir(filepath.Join(f.dir, shard))
	if err != nil {
		return fmt.Errorf("listing files: %w", mapped(err))
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Other files are not contents: no key refers to them.
		if shardOf(e.Name()) != shard || !validKey.MatchString(e.Name()) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // deleted since
			continue
		}
		if err != nil {
			return fmt.Errorf("listing files: %w", mapped(err))
		}
		if err := visit(e.Name(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// validKey keeps keys from being paths. 200 leaves room for suffixes below the
// 255 bytes that names may have.
var validKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// path returns the path of the content of a key.
func (f *Files) path(key string) (string, error) {
	if !validKey.MatchString(key) {
		return "", fmt.Errorf("file key %q is not made of letters, digits, _ and -", key)
	}
	return filepath.Join(f.dir, shardOf(key), key), nil
}

func (f *Files) tmp() string { return filepath.Join(f.dir, tmpName) }

func shardOf(key string) string {
	h := fnv.New32a()
	h.Write([]byte(key))
	return fmt.Sprintf("%02x", byte(h.Sum32()))
}

var shardName = regexp.MustCompile(`^[0-9a-f]{2}$`)

func isShard(name string) bool { return shardName.MatchString(name) }
