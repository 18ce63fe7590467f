package store

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// EverAfter is later than any time that is stored.
var EverAfter = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// MinuteOf returns the start of the minute of t, in the stored format.
func MinuteOf(t time.Time) int64 { return Micros(t.Truncate(time.Minute)) }

// usageSums are sums of requests, failures, and input, cached, output, reasoning
// and total tokens. Both drivers compute them in floating point to avoid
// overflow.
type usageSums [7]float64

func (s *usageSums) columns() []any {
	to := make([]any, len(s))
	for i := range s {
		to[i] = &s[i]
	}
	return to
}

func (s *usageSums) record() (r batch.UsageRecord) {
	r.Requests, r.Failures = Whole(s[0]), Whole(s[1])
	r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens = Whole(s[2]), Whole(s[3])
	r.Usage.OutputTokens, r.Usage.OutputTokensDetails.ReasoningTokens = Whole(s[4]), Whole(s[5])
	r.Usage.TotalTokens = Whole(s[6])
	return r
}

// ScanUsagePoint scans a time, a class and the sums of UsageColumns.
func ScanUsagePoint(r Row) (p batch.UsagePoint, err error) {
	var s usageSums
	err = r.Scan(append([]any{timeIn{&p.At}, &p.Class}, s.columns()...)...)
	sum := s.record()
	p.Requests, p.Failures, p.Usage = sum.Requests, sum.Failures, sum.Usage
	return p, err
}

// ScanModelUsage scans a class, a model and the sums of UsageColumns.
func ScanModelUsage(r Row) (batch.UsageRecord, error) {
	var (
		s            usageSums
		class, model string
	)
	err := r.Scan(append([]any{&class, &model}, s.columns()...)...)
	u := s.record()
	u.Class, u.Model = class, model
	return u, err
}

// ScanEvents scans a time, a kind, and sums of events and of their amounts.
func ScanEvents(r Row) (p batch.EventPoint, err error) {
	var events, amount float64
	err = r.Scan(timeIn{&p.At}, &p.Kind, &events, &amount)
	p.Events, p.Amount = Whole(events), Whole(amount)
	return p, err
}

// StateCount is the number of batches with a status.
type StateCount struct {
	Status  batch.Status
	Batches int64
}

// ScanStateCount scans status and batches.
func ScanStateCount(r Row) (c StateCount, err error) {
	err = r.Scan(&c.Status, &c.Batches)
	return c, err
}

// ScanWaiting scans numbers of batches that wait and that are paused, of their
// lines, and the oldest time.
func ScanWaiting(r Row) (w batch.Waiting, err error) {
	err = r.Scan(&w.Batches, &w.Paused, &w.Lines, &w.PausedLines, timeIn{&w.Oldest})
	return w, err
}

// FileName is the name of a file.
type FileName struct{ ID, Name string }

// ScanFileName scans id and filename.
func ScanFileName(r Row) (f FileName, err error) {
	err = r.Scan(&f.ID, &f.Name)
	return f, err
}

// FileUse is one use of a file by a batch.
type FileUse struct {
	ID  string
	Use batch.FileUse
}

// ScanFileUse scans a file's id, the number of its batches, the ids of the
// latest, with commas between them, and whether one is not over.
func ScanFileUse(r Row) (u FileUse, err error) {
	var latest string
	err = r.Scan(&u.ID, &u.Use.Batches, &latest, &u.Use.Needed)
	u.Use.Latest = strings.Split(latest, ",")
	return u, err
}

// UsesOf returns uses by file id, without files that are not used.
func UsesOf(found []FileUse) map[string]batch.FileUse {
	uses := make(map[string]batch.FileUse, len(found))
	for _, f := range found {
		if f.Use.Batches > 0 {
			uses[f.ID] = f.Use
		}
	}
	return uses
}

// ScanStorage scans purpose, files and bytes.
func ScanStorage(r Row) (u batch.StorageUse, err error) {
	err = r.Scan(&u.Purpose, &u.Files, &u.Bytes)
	return u, err
}

// ScanTenantStored scans tenant, files, bytes and pending uploads.
func ScanTenantStored(r Row) (u batch.TenantStored, err error) {
	err = r.Scan(&u.Tenant, &u.Files, &u.Bytes, &u.Uploads)
	return u, err
}

// ByTenant sums rows by tenant, in order. Indexes count for the tenant of their batches.
func ByTenant(rows []batch.TenantStored) []batch.TenantStored {
	sums := make(map[string]batch.TenantStored)
	for _, r := range rows {
		tenant := batch.OwnerOf(r.Tenant)
		u := sums[tenant]
		sums[tenant] = batch.TenantStored{Tenant: tenant, Stored: u.Add(r.Stored), Uploads: u.Uploads + r.Uploads}
	}
	return slices.SortedFunc(maps.Values(sums), func(a, b batch.TenantStored) int { return cmp.Compare(a.Tenant, b.Tenant) })
}

// ScanMinute scans minute, completed and failed.
func ScanMinute(r Row) (m batch.Minute, err error) {
	err = r.Scan(timeIn{&m.At}, &m.Completed, &m.Failed)
	return m, err
}

// ScanPace scans id, model, minute, completed and failed.
func ScanPace(r Row) (p batch.Pace, err error) {
	err = r.Scan(&p.BatchID, &p.Model, timeIn{&p.At}, &p.Completed, &p.Failed)
	return p, err
}

// BatchMinute is a minute with its batch.
type BatchMinute struct {
	batch.Minute
	BatchID string
}

// ScanBatchMinute scans id, minute, completed and failed.
func ScanBatchMinute(r Row) (m BatchMinute, err error) {
	err = r.Scan(&m.BatchID, timeIn{&m.At}, &m.Completed, &m.Failed)
	return m, err
}
