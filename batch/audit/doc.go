// Package audit records what clients changed outside of the store, and what they were
// refused, in the audit log of the store. Changes of the store itself add their entries in
// their own transactions: see batch.AuditStore.
package audit
