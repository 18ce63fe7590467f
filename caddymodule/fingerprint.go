package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// fingerprint identifies the settings of a driver without revealing them, because
// they may contain passwords. An open driver keeps its settings, so that changed
// settings need another runtime.
func fingerprint(settings ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", settings))
	return hex.EncodeToString(sum[:8])
}
