package store

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

const (
	// AuditColumns are the columns of an entry of the audit log without seq.
	AuditColumns = `at, action, outcome, object, tenant, detail, key_id, key_name, key_tenant, via, address, request_id`
	// MaxAuditText limits each text of an entry, in bytes.
	MaxAuditText = 500
)

// AuditArgs returns the values of AuditColumns of an entry that is added now.
func AuditArgs(now time.Time, e batch.AuditEntry) []any {
	return []any{
		Micros(now.Add(-e.Age)), string(e.Action), string(e.Outcome), auditText(e.Object), auditText(e.Tenant), auditText(e.Detail),
		auditText(e.KeyID), auditText(e.KeyName), auditText(e.KeyTenant), auditText(e.Via), auditText(e.Address), auditText(e.RequestID),
	}
}

// auditText returns a text as every database can hold it.
func auditText(text string) string {
	if len(text) > MaxAuditText {
		text = text[:MaxAuditText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// ScanAudit scans seq and AuditColumns.
func ScanAudit(r Row) (e batch.AuditEntry, err error) {
	err = r.Scan(&e.Seq, timeIn{&e.At}, &e.Action, &e.Outcome, &e.Object, &e.Tenant, &e.Detail,
		&e.KeyID, &e.KeyName, &e.KeyTenant, &e.Via, &e.Address, &e.RequestID)
	return e, err
}

// AuditRange returns the bounds of a page in microseconds: at least since, and below until
// or at until with a smaller seq than before.
func AuditRange(q batch.AuditQuery) (since, until, before int64) {
	since, until, before = math.MinInt64, math.MaxInt64, math.MinInt64
	if !q.Since.IsZero() {
		since = Micros(q.Since)
	}
	if !q.Until.IsZero() {
		until = Micros(q.Until)
	}
	return since, until, before
}

// KeyDetail describes a key in the audit log.
func KeyDetail(k access.Key) string {
	parts := []string{"name " + k.Name, "scopes " + access.Join(k.Scopes, " ")}
	if len(k.Models) > 0 {
		parts = append(parts, "models "+strings.Join(k.Models, " "))
	}
	for _, f := range k.Limits.Fields() {
		if *f.Value > 0 {
			parts = append(parts, f.Name+" "+f.String())
		}
	}
	if !k.ExpiresAt.IsZero() {
		parts = append(parts, "expires "+k.ExpiresAt.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, ", ")
}

// AuditBeyond are entries that are not kept: those of an outcome up to Seq.
type AuditBeyond struct {
	Outcome batch.AuditOutcome
	Seq     int64
}

// Oldest is the argument of FindBeyond's find for the oldest entry.
const Oldest = -1

// FindBeyond returns the entries beyond the numbers to keep. find returns the Seq of the
// entry of an outcome after skip newer ones, of the oldest one for Oldest, and
// batch.ErrNotFound. It is asked to skip entries only if there may be too many, because that
// reads all of them.
func FindBeyond(keep batch.AuditRetention, find func(outcome batch.AuditOutcome, skip int) (int64, error)) ([]AuditBeyond, error) {
	var beyond []AuditBeyond
	for outcome, kept := range map[batch.AuditOutcome]int{batch.AuditDone: keep.Done, batch.AuditRefused: keep.Refused} {
		first, err := find(outcome, Oldest)
		if err == nil {
			var last int64
			if last, err = find(outcome, 0); err == nil && last-first < int64(kept) {
				continue
			}
		}
		var seq int64
		if err == nil {
			seq, err = find(outcome, kept)
		}
		switch {
		case errors.Is(err, batch.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			beyond = append(beyond, AuditBeyond{outcome, seq})
		}
	}
	return beyond, nil
}

// RotationDetail describes the rotation of a key in the audit log.
func RotationDetail(k access.Key, overlap time.Duration) string {
	return "name " + k.Name + ", the previous key is accepted for " + overlap.String()
}

// LimitsDetail describes a change of the limits of a key in the audit log.
func LimitsDetail(k access.Key, before access.Limits) string {
	parts := []string{"name " + k.Name}
	old := before.Fields()
	for i, f := range k.Limits.Fields() {
		if *f.Value != *old[i].Value {
			parts = append(parts, f.Name+" "+limitText(f)+" instead of "+limitText(old[i]))
		}
	}
	return strings.Join(parts, ", ")
}

func limitText(f access.LimitField) string {
	if *f.Value == 0 {
		return "none"
	}
	return f.String()
}

// InputDetail describes the deletion of a batch with its input in the audit log.
func InputDetail(b batch.Batch) string { return "with its input " + b.InputFileID }

// PriorityDetail describes a priority in the audit log.
func PriorityDetail(priority int) string { return "priority " + strconv.Itoa(priority) }
