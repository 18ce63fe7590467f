package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Signer signs receipts.
type Signer struct {
	private ed25519.PrivateKey
	public  Key
}

// NewSigner returns a signer with this key.
func NewSigner(private ed25519.PrivateKey) *Signer {
	public := private.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	return &Signer{private, Key{KeyID: hex.EncodeToString(sum[:16]), Algorithm: Algorithm, PublicKey: base64.StdEncoding.EncodeToString(public)}}
}

// Public returns the public key.
func (s *Signer) Public() Key { return s.public }

// public returns the key, which must have the id that follows from it.
func (k Key) public() (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.DecodeString(k.PublicKey)
	if err != nil || len(b) != ed25519.PublicKeySize || k.Algorithm != Algorithm {
		return nil, fmt.Errorf("key %s is no public key of %s", k.KeyID, Algorithm)
	}
	sum := sha256.Sum256(b)
	if k.KeyID != hex.EncodeToString(sum[:16]) {
		return nil, fmt.Errorf("key %s has an id that is not that of its public key", k.KeyID)
	}
	return b, nil
}

// Load reads the key in a PEM file. If the file does not exist, Load creates it with a new
// key that only its owner can read. Of concurrent calls one creates the key.
func Load(path string) (*Signer, error) {
	s, err := read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("creating key of receipts: %w", err)
	}
	return read(path)
}

func read(path string) (*Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading key of receipts: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("reading key of receipts: %s has no PEM block; restore it, or move it away for a new key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading key of receipts: %s: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("reading key of receipts: %s has a key of another kind than %s", path, Algorithm)
	}
	return NewSigner(private), nil
}

// create writes a new key. The file appears complete, or not at all.
func create(path string) (err error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".receipt-*") // for its owner only
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temporary.Name())) }()
	err = pem.Encode(temporary, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Link(temporary.Name(), path) // fails if another one has created it
}
