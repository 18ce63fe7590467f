package caddymodule

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/access"
)

// savedKeys is the file in the data directory with the managed keys that this gateway
// knows, hashed. A gateway that starts while the database is away accepts them.
type savedKeys struct {
	path  string
	store string // identifies the store
	log   *zap.Logger
}

func (a *App) savedKeys(log *zap.Logger) savedKeys {
	sum := sha256.Sum256([]byte(a.store.Identity(a.Data)))
	return savedKeys{filepath.Join(a.Data, "tidegate-keys.json"), hex.EncodeToString(sum[:]), log}
}

// restore returns the saved keys.
func (s savedKeys) restore() []access.Key {
	keys, err := access.Load(s.path, s.store)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("saved keys ignored", zap.Error(err))
	}
	return keys
}

// save replaces the saved keys.
func (s savedKeys) save(keys []access.Key) {
	if len(keys) == 0 {
		if _, err := access.Load(s.path, s.store); errors.Is(err, fs.ErrNotExist) {
			return // a gateway without managed keys needs no file
		}
	}
	if err := access.Save(s.path, s.store, keys); err != nil {
		s.log.Warn("saving keys failed: a gateway that starts while the database is away will not know the last changes", zap.Error(err))
	}
}
