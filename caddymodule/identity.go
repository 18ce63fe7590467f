package caddymodule

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// identify tells places apart by what is there and by all settings, so that a
// reload that changes how to be let in, or a time limit, makes a runtime that
// uses it. Secrets are in it as a digest only.
func identify(place string, settings any) (string, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return "", fmt.Errorf("comparing settings: %w", err)
	}
	return fmt.Sprintf("%s %x", place, sha256.Sum256(text)), nil
}
