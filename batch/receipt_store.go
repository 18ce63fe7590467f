package batch

import (
	"context"
	"time"
)

// ReceiptStore has the public keys of receipts. Each gateway signs with a key of its own, and
// lists the keys of all.
type ReceiptStore interface {
	// AddReceiptKey stores a public key. A key with a known id is not changed.
	AddReceiptKey(ctx context.Context, id, public string) error
	// ReceiptKeys lists the keys, the oldest first; at most limit.
	ReceiptKeys(ctx context.Context, limit int) ([]ReceiptKey, error)
}

// ReceiptKey is a public key.
type ReceiptKey struct {
	ID, Public string
	AddedAt    time.Time
}
