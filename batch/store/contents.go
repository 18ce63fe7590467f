package store

import (
	"math"

	"github.com/tidegate/tidegate/batch"
)

// BeforeOf converts the cursor of a listing to the bound in its statement. 0
// starts at the newest row.
func BeforeOf(before int64) int64 {
	if before <= 0 {
		return math.MaxInt64
	}
	return before
}

// ScanNeededContent scans seq, id and content of a file.
func ScanNeededContent(r Row) (c batch.NeededContent, err error) {
	err = r.Scan(&c.Seq, &c.FileID, &c.Key)
	return c, err
}

// ScanUnknownContent scans key and seen_at.
func ScanUnknownContent(r Row) (c batch.UnknownContent, err error) {
	err = r.Scan(&c.Key, timeIn{&c.Since})
	return c, err
}
