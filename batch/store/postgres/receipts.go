package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addReceiptKey = declare(`INSERT INTO receipt_keys (id, public, added_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`)
	receiptKeys   = declare(`SELECT id, public, added_at FROM receipt_keys ORDER BY added_at, id LIMIT $1`)
)

// AddReceiptKey stores a public key.
func (s *Store) AddReceiptKey(ctx context.Context, id, public string) error {
	return s.write(ctx, "adding key of receipts", func(t *tx) error {
		_, err := t.exec(ctx, addReceiptKey, id, public, t.micros())
		return err
	})
}

// ReceiptKeys lists public keys.
func (s *Store) ReceiptKeys(ctx context.Context, limit int) (keys []batch.ReceiptKey, err error) {
	err = s.read(ctx, "listing keys of receipts", func(t *tx) error {
		keys, err = all(ctx, t, store.ScanReceiptKey, receiptKeys, store.LimitOf(limit))
		return err
	})
	return keys, err
}
