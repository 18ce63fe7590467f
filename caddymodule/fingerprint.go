package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// fingerprint tells settings of a driver apart without showing them: there are
// passwords among them. What is open keeps the settings it was opened with, so
// that it takes another runtime to have other ones.
func fingerprint(settings ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", settings))
	return hex.EncodeToString(sum[:8])
}
