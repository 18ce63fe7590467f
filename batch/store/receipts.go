package store

import "github.com/tidegate/tidegate/batch"

// ScanReceiptKey scans id, public and added_at.
func ScanReceiptKey(r Row) (k batch.ReceiptKey, err error) {
	err = r.Scan(&k.ID, &k.Public, timeIn{&k.AddedAt})
	return k, err
}
