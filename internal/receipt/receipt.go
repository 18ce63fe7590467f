// Package receipt makes and verifies receipts of batches: signed statements about the files
// of a batch.
package receipt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tidegate/tidegate/internal/openai"
)

// Object is the field object of a receipt, and Version the version of its format.
const (
	Object    = "batch.receipt"
	Version   = 1
	Algorithm = "ed25519"
)

// Receipt is a statement about a batch that has ended. All fields but Signature are signed:
// the signature is that of the JSON without it in canonical form (RFC 8785).
type Receipt struct {
	Object         string               `json:"object"`
	Version        int                  `json:"version"`
	BatchID        string               `json:"batch_id"`
	Endpoint       string               `json:"endpoint"`
	Model          string               `json:"model"` // "" if the lines name several
	Status         string               `json:"status"`
	CreatedAt      int64                `json:"created_at"`
	EndedAt        int64                `json:"ended_at"`
	RequestCounts  openai.RequestCounts `json:"request_counts"`
	Usage          openai.Usage         `json:"usage"`
	Input          *File                `json:"input"`
	Output         *File                `json:"output"` // nil: no line completed
	Errors         *File                `json:"errors"` // nil: no line failed
	Upstreams      []string             `json:"upstreams"`
	GatewayVersion string               `json:"gateway_version"` // that wrote the files; "" if there are none
	Algorithm      string               `json:"algorithm"`
	KeyID          string               `json:"key_id"`
	Signature      string               `json:"signature,omitempty"` // base64
}

// File is a file of a batch.
type File struct {
	ID     string `json:"id"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hex
}

// Key is a public key in a list of keys.
type Key struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	PublicKey string `json:"public_key"` // base64
}

// Keys is a list of public keys.
type Keys struct {
	Object string `json:"object"` // "list"
	Data   []Key  `json:"data"`
}

// Sign returns the canonical JSON of a receipt with a signature. Equal receipts and keys have
// equal JSON.
func Sign(r Receipt, s *Signer) ([]byte, error) {
	r.Object, r.Version, r.Algorithm, r.KeyID, r.Signature = Object, Version, Algorithm, s.public.KeyID, ""
	unsigned, err := canonical(r)
	if err != nil {
		return nil, err
	}
	r.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(s.private, unsigned))
	return canonical(r)
}

func canonical(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := jsontext.Value(text)
	err = out.Canonicalize()
	return out, err
}

// Errors of Verify.
var (
	ErrFormat     = errors.New("it is no receipt of a batch")
	ErrUnknownKey = errors.New("it is signed with a key that is not among the trusted keys")
	ErrSignature  = errors.New("the signature is wrong: the receipt was changed, or made with another key of the same id")
)

// Verify parses a receipt and checks its signature against keys.
func Verify(text []byte, keys []Key) (Receipt, error) {
	var r Receipt
	unsigned, err := withoutSignature(text)
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if r.Object != Object || r.Version != Version || r.Algorithm != Algorithm {
		return r, fmt.Errorf("%w of version %d: object %q, version %d, algorithm %q", ErrFormat, Version, r.Object, r.Version, r.Algorithm)
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(r.Signature)
	if err != nil || len(signature) != ed25519.SignatureSize {
		return r, ErrSignature
	}
	for _, k := range keys {
		if k.KeyID != r.KeyID {
			continue
		}
		public, err := k.public()
		if err != nil {
			return r, err
		}
		if ed25519.Verify(public, unsigned, signature) {
			return r, nil
		}
		return r, ErrSignature
	}
	return r, fmt.Errorf("%w: key_id %q", ErrUnknownKey, r.KeyID)
}

// withoutSignature returns the signed part of a receipt in canonical form.
func withoutSignature(text []byte) ([]byte, error) {
	whole := jsontext.Value(bytes.TrimSpace(text))
	if !whole.IsValid() { // also with a name that is repeated
		return nil, errors.New("invalid JSON")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(whole, &members); err != nil {
		return nil, err
	}
	delete(members, "signature")
	return canonical(members)
}
