package batch

import "fmt"

// Quota limits what clients store. The zero Quota has no limit.
type Quota struct {
	Tenant StorageLimit // of the tenant of the new object
	All    StorageLimit // of all tenants together
	Parts  int64        // of an upload
}

// StorageLimit limits contents and uploads. A zero field is no limit.
type StorageLimit struct {
	Bytes   int64 // of contents
	Files   int64 // contents: files, results, parts of pending uploads
	Uploads int64 // that are pending
}

// Stored counts contents.
type Stored struct{ Files, Bytes int64 }

// Add returns the sum of both.
func (s Stored) Add(o Stored) Stored { return Stored{s.Files + o.Files, s.Bytes + o.Bytes} }

// StoredOf sums the contents of all purposes.
func StoredOf(uses []StorageUse) (sum Stored) {
	for _, u := range uses {
		sum = sum.Add(Stored{u.Files, u.Bytes})
	}
	return sum
}

// Check returns a *QuotaError if contents cannot be added to those that are stored. all
// reports that the limit is that of all tenants. What is stored may be more than the limit,
// because results are always written.
func (l StorageLimit) Check(stored, added Stored, all bool) error {
	if added.Files > 0 && l.Files > 0 && stored.Files+added.Files > l.Files {
		return &QuotaError{Kind: QuotaFiles, All: all, Used: stored.Files, Max: l.Files}
	}
	if added.Bytes > 0 && l.Bytes > 0 && stored.Bytes+added.Bytes > l.Bytes {
		return &QuotaError{Kind: QuotaBytes, All: all, Used: stored.Bytes, Max: l.Bytes}
	}
	return nil
}

// CheckResults returns a *QuotaError if the space is used up, so that a new batch would write
// its results beyond the limit.
func (l StorageLimit) CheckResults(stored Stored, all bool) error {
	switch {
	case l.Files > 0 && stored.Files >= l.Files:
		return &QuotaError{Kind: QuotaFiles, All: all, Used: stored.Files, Max: l.Files, Results: true}
	case l.Bytes > 0 && stored.Bytes >= l.Bytes:
		return &QuotaError{Kind: QuotaBytes, All: all, Used: stored.Bytes, Max: l.Bytes, Results: true}
	default:
		return nil
	}
}

// CheckUploads returns a *QuotaError if no upload can be added to those that are pending.
func (l StorageLimit) CheckUploads(pending int64, all bool) error {
	if l.Uploads > 0 && pending >= l.Uploads {
		return &QuotaError{Kind: QuotaUploads, All: all, Used: pending, Max: l.Uploads}
	}
	return nil
}

// CheckParts returns a *QuotaError if no part can be added to those of an upload.
func (q Quota) CheckParts(parts int64) error {
	if q.Parts > 0 && parts >= q.Parts {
		return &QuotaError{Kind: QuotaParts, Used: parts, Max: q.Parts}
	}
	return nil
}

// QuotaKind is the subject of a limit of a Quota.
type QuotaKind string

// The kinds.
const (
	QuotaBytes   QuotaKind = "bytes"
	QuotaFiles   QuotaKind = "files"
	QuotaUploads QuotaKind = "pending uploads"
	QuotaParts   QuotaKind = "parts of the upload"
)

// QuotaError reports that a limit of a Quota does not allow a new object.
type QuotaError struct {
	Kind      QuotaKind
	All       bool // a limit of all tenants together
	Used, Max int64
	Results   bool // there is no space for the results of a new batch
}

func (e *QuotaError) Error() string {
	whose := ""
	if e.All {
		whose = " for all tenants together"
	}
	return fmt.Sprintf("limit of %d %s reached%s: %d exist", e.Max, e.Kind, whose, e.Used)
}
