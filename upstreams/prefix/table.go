package prefix

import "sync/atomic"

// Values of a slot that are no hash.
const (
	empty   = 0
	removed = 1
)

// table is a set of hashes that is read without a lock while one goroutine changes it.
// A reader may miss a hash that is being added or removed.
type table struct {
	slots []atomic.Uint64 // a power of two of them
	used  int             // slots that are not empty
}

// newTable returns a table for so many hashes. Half of its slots stay empty.
func newTable(hashes int) *table {
	size := 16
	for size < 4*hashes {
		size *= 2
	}
	return &table{slots: make([]atomic.Uint64, size)}
}

func (t *table) has(hash uint64) bool {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case hash:
			return true
		case empty:
			return false
		}
	}
}

// add adds a hash that is not there. It reports false when the table has to be made
// anew, because too many slots are those of removed hashes.
func (t *table) add(hash uint64) bool {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case empty:
			if 2*t.used >= len(t.slots) {
				return false
			}
			t.used++
			t.slots[i].Store(hash)
			return true
		case removed:
			t.slots[i].Store(hash)
			return true
		}
	}
}

func (t *table) remove(hash uint64) {
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case hash:
			t.slots[i].Store(removed)
			return
		case empty:
			return
		}
	}
}
