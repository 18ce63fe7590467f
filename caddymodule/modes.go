package caddymodule

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
)

// loose are the permission bits of other users.
const loose fs.FileMode = 0o077

// places are the files and directories that other users must not access.
type places struct {
	// ours are created by the gateway, which may change their mode.
	ours []string
	// keys are key files. Other programs may use them, too, so that their mode is not
	// changed.
	keys []string
}

// secretMounts are where Docker and Kubernetes mount secrets. The modes there do not
// show who has access.
var secretMounts = []string{"/run/secrets/", "/var/run/secrets/"}

// places returns the files and directories of the app's drivers on this machine.
func (a *App) places() places {
	p := places{keys: a.keyFiles}
	if store, ok := a.store.(*SQLiteStore); ok {
		path := store.path(a.Data)
		p.ours = append(p.ours, path, path+"-wal", path+"-shm", path+".lock")
	}
	if files, ok := a.files.(*LocalFiles); ok {
		p.ours = append(p.ours, files.dir(a.Data))
	}
	p.ours = append(p.ours, a.Data)
	return p
}

// tighten removes the rights of other users where it may, and returns the remaining
// ones. Symbolic links are followed: their target counts.
func (p places) tighten(log *zap.Logger) (left []string) {
	for _, path := range p.ours {
		info, err := os.Stat(path)
		if err != nil || info.Mode()&loose == 0 || !hasModes {
			continue // does not exist yet: it will be created with its own mode
		}
		mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid)
		if ownedByUs(info) && !foreign(path, info) {
			err = os.Chmod(path, mode&^loose)
			if err == nil {
				log.Warn("permissions tightened: other users had access", zap.String("path", path), zap.Stringer("mode", info.Mode()))
				continue
			}
		}
		left = append(left, describe(path, info))
		log.Warn("other users have access", zap.String("path", path), zap.Stringer("mode", info.Mode()), zap.String("remedy", "chmod go-rwx "+path), zap.Error(err))
	}
	for _, path := range p.keys {
		info, err := os.Stat(path)
		if err != nil || info.Mode()&loose == 0 || !hasModes || mounted(path) {
			continue
		}
		left = append(left, describe(path, info))
		log.Warn("other users have access", zap.String("path", path), zap.Stringer("mode", info.Mode()), zap.String("remedy", "chmod go-rwx "+path))
	}
	return left
}

func describe(path string, info fs.FileInfo) string {
	return fmt.Sprintf("%s (%s)", path, info.Mode())
}

func mounted(path string) bool {
	for _, mount := range secretMounts {
		if strings.HasPrefix(filepath.Clean(path), mount) {
			return true
		}
	}
	return false
}

// foreign reports whether a directory contains files of others, such as /tmp or a
// home directory: its mode is not changed.
func foreign(path string, info fs.FileInfo) bool {
	if !info.IsDir() {
		return false
	}
	if info.Mode()&fs.ModeSticky != 0 {
		return true
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return true
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case name == "receipt.key", strings.HasPrefix(name, ".tidegate"): // and temporary files
		case name == "files", name == "tmp", name == "caddy", name == "place", name == "admin.sock", name == "lost+found", strings.HasPrefix(name, "tidegate"), strings.HasSuffix(name, "lock"):
		case len(name) == 2 && entry.IsDir(): // a shard of contents
		default:
			return true
		}
	}
	return false
}
