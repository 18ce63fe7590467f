//go:build unix

package caddymodule

import (
	"io/fs"
	"os"
	"syscall"
)

// hasModes reports whether files have permission bits.
const hasModes = true

// ownedByUs reports whether a file belongs to the user of this process.
func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
