package access

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/tidegate/tidegate/internal/atomicfile"
)

// savedFormat is the version of the format of saved keys.
const savedFormat = 1

// maxSaved limits the size of a file of saved keys, in bytes.
const maxSaved = 64 << 20

// savedKeys are keys in a file. It contains no secret: of each, the SHA-256.
type savedKeys struct {
	Format int        `json:"format"`
	Store  string     `json:"store"` // the store that the keys were read from
	Keys   []savedKey `json:"keys"`
}

type savedKey struct {
	ID            string    `json:"id"`
	Name          string    `json:"name"`
	Tenant        string    `json:"tenant"`
	SHA256        string    `json:"sha256"`
	Scopes        []Scope   `json:"scopes"`
	Models        []string  `json:"models,omitempty"`
	Limits        Limits    `json:"limits,omitzero"`
	ExpiresAt     time.Time `json:"expires_at,omitzero"`
	Previous      string    `json:"previous_sha256,omitempty"`
	PreviousUntil time.Time `json:"previous_until,omitzero"`
}

// Save writes the keys that are not revoked to a file that only its owner can read. store
// identifies the store that they were read from. The file appears complete, or not at all.
func Save(path, store string, keys []Key) error {
	content := savedKeys{Format: savedFormat, Store: store, Keys: []savedKey{}}
	for i := range keys {
		k := &keys[i]
		if !k.RevokedAt.IsZero() {
			continue
		}
		saved := savedKey{ID: k.ID, Name: k.Name, Tenant: k.Tenant, SHA256: k.Hash.String(), Scopes: k.Scopes, Models: k.Models, Limits: k.Limits, ExpiresAt: k.ExpiresAt}
		if !k.PreviousUntil.IsZero() {
			saved.Previous, saved.PreviousUntil = k.PreviousHash.String(), k.PreviousUntil
		}
		content.Keys = append(content.Keys, saved)
	}
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encoding keys: %w", err)
	}
	if err := atomicfile.Write(path, text); err != nil {
		return fmt.Errorf("saving keys: %w", err)
	}
	return nil
}

// Load reads saved keys. It returns fs.ErrNotExist without a file, and an error if the file
// is of another store or format, if it is invalid, or if other users have access to it.
func Load(path, store string) ([]Key, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxSaved:
		return nil, fmt.Errorf("%s is not a file of saved keys", path)
	case runtime.GOOS != "windows" && info.Mode()&fs.FileMode(0o077) != 0:
		return nil, fmt.Errorf("other users have access to %s (%s)", path, info.Mode())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var content savedKeys
	if err := json.Unmarshal(text, &content); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", path, err)
	}
	if content.Format != savedFormat {
		return nil, fmt.Errorf("%s has the format %d, want %d", path, content.Format, savedFormat)
	}
	if content.Store != store {
		return nil, fmt.Errorf("%s has the keys of another store", path)
	}
	keys := make([]Key, len(content.Keys))
	for i := range content.Keys {
		if keys[i], err = content.Keys[i].key(); err != nil {
			return nil, fmt.Errorf("decoding %s: key %q: %w", path, content.Keys[i].ID, err)
		}
	}
	return keys, nil
}

func (s *savedKey) key() (k Key, err error) {
	k = Key{ID: s.ID, Name: s.Name, Tenant: s.Tenant, Models: s.Models, Limits: s.Limits, ExpiresAt: s.ExpiresAt, PreviousUntil: s.PreviousUntil}
	if k.Hash, err = ParseHash(s.SHA256); err != nil {
		return k, err
	}
	if s.Previous != "" {
		if k.PreviousHash, err = ParseHash(s.Previous); err != nil {
			return k, err
		}
	}
	names := make([]string, len(s.Scopes))
	for i, scope := range s.Scopes {
		names[i] = string(scope)
	}
	if k.Scopes, err = ParseScopes(names); err != nil {
		return k, err
	}
	return k, k.Check()
}
