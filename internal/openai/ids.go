package openai

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID makes an id: prefix and 32 hex digits that nobody can guess.
func NewID(prefix string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails, says its documentation
	return prefix + hex.EncodeToString(random[:])
}
