package templates

import "time"

// AuditLog is a page of the audit log.
type AuditLog struct {
	Rows  []AuditRow
	Pages Pages
}

// AuditRow is an entry.
type AuditRow struct {
	At                        time.Time
	Action                    string
	Refused                   bool
	Target, Tenant, Detail    string
	KeyID, KeyName, KeyTenant string // "" for a client without a key
	Via, Address, RequestID   string
}
