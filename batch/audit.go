package batch

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/access"
)

// AuditStore is the log of what clients changed. Entries are added and never changed; the
// oldest are removed.
//
// The methods of a Store that change keys, files and batches add the entry of the change in
// their transaction, if the context has an access.Origin. A call that changes nothing adds
// none.
type AuditStore interface {
	// AddAudit adds entries of changes outside of the store. It takes all fields but Seq
	// and At from them.
	AddAudit(ctx context.Context, entries []AuditEntry) error
	// AuditEntries returns a page, the newest first, and reports whether more follow. An
	// unknown After is ErrBadCursor, unless its AfterAt is known.
	AuditEntries(ctx context.Context, q AuditQuery) (page []AuditEntry, more bool, err error)
	// PruneAudit removes entries beyond those to keep, the oldest first, and returns how
	// many.
	PruneAudit(ctx context.Context, keep AuditRetention, limit int) (int, error)
}

// AuditAction names an action of a client.
type AuditAction string

// The actions. The object of a key, file or batch is its id, that of a server its URL.
const (
	AuditKeyCreate     AuditAction = "key.create"
	AuditKeyRevoke     AuditAction = "key.revoke"
	AuditKeyRotate     AuditAction = "key.rotate"
	AuditKeyLimits     AuditAction = "key.limits"
	AuditFileDelete    AuditAction = "file.delete"
	AuditBatchCancel   AuditAction = "batch.cancel"
	AuditBatchDelete   AuditAction = "batch.delete"
	AuditBatchPause    AuditAction = "batch.pause"
	AuditBatchResume   AuditAction = "batch.resume"
	AuditBatchPriority AuditAction = "batch.priority"
	AuditServerDrain   AuditAction = "server.drain"
	AuditServerUndrain AuditAction = "server.undrain"
	AuditContentsAdopt AuditAction = "contents.adopt"
	AuditWebhookTest   AuditAction = "webhook.test"
	AuditLogin         AuditAction = "dashboard.login"
	AuditAdminRequest  AuditAction = "admin.request" // only refused ones; the object is the route
)

// AuditOutcome reports whether an action was done.
type AuditOutcome string

// The outcomes.
const (
	AuditDone    AuditOutcome = "done"
	AuditRefused AuditOutcome = "refused"
)

// AuditEntry is one entry. It has no prompt, no secret, and no name that a client without the
// scope admin can choose.
type AuditEntry struct {
	Seq int64 // identifies it
	At  time.Time
	// Age is the time between the action and the addition of the entry.
	Age     time.Duration
	Action  AuditAction
	Outcome AuditOutcome
	Object  string // what it was done to
	Tenant  string // of the object; "" if it has none
	Detail  string // values of the change

	KeyID, KeyName, KeyTenant string // of the client; "" for a client without a key
	access.Origin
}

// AuditQuery asks for a page of entries.
type AuditQuery struct {
	After        int64     // Seq of the last entry of the page before; 0: from the newest
	AfterAt      time.Time // its At, with which it need not exist any more; zero: not known
	Since, Until time.Time // Since <= At < Until; zero: no bound
	Limit        int
}

// AuditRetention limits the entries that are kept.
type AuditRetention struct {
	Age     time.Duration
	Done    int // entries of changes
	Refused int // entries of refused requests, which any client can cause
}

// AuditKept is the retention of a gateway.
var AuditKept = AuditRetention{Age: 365 * 24 * time.Hour, Done: 500_000, Refused: 50_000}

// For returns the entry as a client sees it: to a client that is limited to some models
// without the detail of a new key, which names the models of the key.
func (e AuditEntry) For(client access.Identity) AuditEntry {
	if e.Action == AuditKeyCreate && len(client.Models) > 0 {
		e.Detail = ""
	}
	return e
}

// Audited returns the entry of an action by the client of a context, and false if the
// context has no access.Origin.
func Audited(ctx context.Context, action AuditAction, object, tenant, detail string) (AuditEntry, bool) {
	origin, ok := access.OriginOf(ctx)
	by := access.From(ctx)
	return AuditEntry{
		Action: action, Outcome: AuditDone, Object: object, Tenant: tenant, Detail: detail,
		KeyID: by.KeyID, KeyName: by.Name, KeyTenant: by.Tenant, Origin: origin,
	}, ok
}
