package openai

import (
	"crypto/rand"
	"encoding/hex"
)

// NewID returns an id: prefix and 32 random hex digits that cannot be guessed.
func NewID(prefix string) string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails according to its documentation
	return prefix + hex.EncodeToString(random[:])
}
