package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// ErrNotUTF8 reports metadata that JSON cannot represent unchanged.
var ErrNotUTF8 = errors.New("metadata is not UTF-8")

// EncodeMetadata writes the metadata of a batch as JSON, nil for nil.
func EncodeMetadata(m map[string]string) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	for k, v := range m {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return nil, fmt.Errorf("%w: %q", ErrNotUTF8, k)
		}
	}
	return json.Marshal(m)
}

// EncodeFindings encodes the findings of a batch as JSON, nil for none. Bytes
// that are not UTF-8 become U+FFFD, as in a response to the client.
func EncodeFindings(f []openai.BatchError) ([]byte, error) { return encode(f, len(f) == 0) }

// EncodeCompression encodes the compression of a file as JSON, nil for nil.
func EncodeCompression(c *openai.Compression) ([]byte, error) { return encode(c, c == nil) }

func encode(v any, none bool) ([]byte, error) {
	if none {
		return nil, nil
	}
	return json.Marshal(v)
}

// DecodeBatch sets the fields of a batch that are stored as JSON, and clears
// those that do not apply to its state.
func DecodeBatch(b *batch.Batch, metadata, findings []byte) error {
	if !b.Status.Controllable() {
		b.PausedAt, b.PauseReason = time.Time{}, "" // the batch ended while it was paused
	}
	if err := decode(metadata, &b.Metadata); err != nil {
		return fmt.Errorf("reading metadata of %s: %w", b.ID, err)
	}
	if err := decode(findings, &b.Errors); err != nil {
		return fmt.Errorf("reading errors of %s: %w", b.ID, err)
	}
	return nil
}

// DecodeFile sets the fields of a file that are stored as JSON.
func DecodeFile(f *batch.File, compression []byte) error {
	if err := decode(compression, &f.Compression); err != nil {
		return fmt.Errorf("reading compression of %s: %w", f.ID, err)
	}
	return nil
}

func decode(b []byte, to any) error {
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, to)
}
