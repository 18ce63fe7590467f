package sqlite

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addReceiptKey = writes(`INSERT INTO receipt_keys (id, public, added_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`)
	receiptKeys   = reads(`SELECT id, public, added_at FROM receipt_keys ORDER BY added_at, id LIMIT ?`)
)

// AddReceiptKey stores a public key.
func (s *Store) AddReceiptKey(ctx context.Context, id, public string) error {
	return s.write(ctx, "adding key of receipts", func(t *tx) error {
		_, err := t.exec(ctx, addReceiptKey, id, public, store.Micros(t.now))
		return err
	})
}

// ReceiptKeys lists public keys.
func (s *Store) ReceiptKeys(ctx context.Context, limit int) (keys []batch.ReceiptKey, err error) {
	err = s.read(ctx, "listing keys of receipts", func(t *tx) error {
		keys, err = all(ctx, t, receiptKeys, store.ScanReceiptKey, store.LimitOf(limit))
		return err
	})
	return keys, err
}
