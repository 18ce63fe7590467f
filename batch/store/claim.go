package store

import (
	"errors"

	"github.com/tidegate/tidegate/batch"
)

// Fenced is batch.ErrStale when a claim found no row to change.
func Fenced(n int, err error) error {
	if err == nil && n == 0 {
		return batch.ErrStale
	}
	return err
}

// ClaimLost is batch.ErrStale when a claim found no row.
func ClaimLost(err error) error {
	if errors.Is(err, batch.ErrNotFound) {
		return batch.ErrStale
	}
	return err
}
