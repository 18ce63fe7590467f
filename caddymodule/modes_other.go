//go:build !unix

package caddymodule

import "io/fs"

// hasModes reports whether files have permission bits.
const hasModes = false

// ownedByUs reports whether a file belongs to the user of this process.
func ownedByUs(fs.FileInfo) bool { return false }
