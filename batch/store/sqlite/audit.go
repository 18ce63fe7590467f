package sqlite

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addAudit    = writes(`INSERT INTO audit_log (` + store.AuditColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	auditCursor = reads(`SELECT at FROM audit_log WHERE seq = ?`)
	auditPage   = reads(`SELECT seq, ` + store.AuditColumns + ` FROM audit_log WHERE at >= ?1 AND (at, seq) < (?2, ?3) ORDER BY at DESC, seq DESC LIMIT ?4`)
	auditBeyond = reads(`SELECT seq FROM audit_log WHERE outcome = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2`)
	auditFirst  = reads(`SELECT seq FROM audit_log WHERE outcome = ?1 ORDER BY seq LIMIT 1`)
	auditLast   = reads(`SELECT seq FROM audit_log WHERE outcome = ?1 ORDER BY seq DESC LIMIT 1`)
	pruneOld    = writes(`DELETE FROM audit_log WHERE seq IN (SELECT seq FROM audit_log WHERE at <= ?1 ORDER BY at LIMIT ?2)`)
	pruneBeyond = writes(`DELETE FROM audit_log WHERE seq IN (SELECT seq FROM audit_log WHERE outcome = ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3)`)
)

// audit adds the entry of a change to the transaction, if a client made it.
func (t *tx) audit(ctx context.Context, action batch.AuditAction, object, tenant, detail string) error {
	e, ok := batch.Audited(ctx, action, object, tenant, detail)
	if !ok {
		return nil
	}
	_, err := t.exec(ctx, addAudit, store.AuditArgs(t.now, e)...)
	return err
}

// AddAudit adds entries.
func (s *Store) AddAudit(ctx context.Context, entries []batch.AuditEntry) error {
	return s.write(ctx, "adding to audit log", func(t *tx) error {
		for _, e := range entries {
			if _, err := t.exec(ctx, addAudit, store.AuditArgs(t.now, e)...); err != nil {
				return err
			}
		}
		return nil
	})
}

// AuditEntries returns a page of entries.
func (s *Store) AuditEntries(ctx context.Context, q batch.AuditQuery) (page []batch.AuditEntry, more bool, err error) {
	err = s.read(ctx, "reading audit log", func(t *tx) error {
		since, until, before := store.AuditRange(q)
		if q.After != 0 {
			at := store.Micros(q.AfterAt)
			if q.AfterAt.IsZero() {
				at, err = one(ctx, t, auditCursor, store.Value[int64], q.After)
				if at, err = store.Cursor(at, err, "entry of the audit log"); err != nil {
					return err
				}
			}
			if at < until {
				until, before = at, q.After
			}
		}
		page, err = all(ctx, t, auditPage, store.ScanAudit, since, until, before, store.LimitOf(q.Limit)+1)
		return err
	})
	page, more = store.Cut(page, q.Limit)
	return page, more, err
}

// PruneAudit removes the oldest entries.
func (s *Store) PruneAudit(ctx context.Context, keep batch.AuditRetention, limit int) (n int, err error) {
	var beyond []store.AuditBeyond
	err = s.read(ctx, "counting audit log", func(t *tx) (err error) {
		beyond, err = store.FindBeyond(keep, func(outcome batch.AuditOutcome, skip int) (int64, error) {
			switch skip {
			case store.Oldest:
				return one(ctx, t, auditFirst, store.Value[int64], string(outcome))
			case 0:
				return one(ctx, t, auditLast, store.Value[int64], string(outcome))
			default:
				return one(ctx, t, auditBeyond, store.Value[int64], string(outcome), skip)
			}
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, "pruning audit log", func(t *tx) error {
		limit := store.LimitOf(limit)
		if n, err = t.exec(ctx, pruneOld, store.Micros(t.now.Add(-keep.Age)), limit); err != nil {
			return err
		}
		for _, b := range beyond {
			gone, err := t.exec(ctx, pruneBeyond, string(b.Outcome), b.Seq, limit-n)
			if err != nil {
				return err
			}
			n += gone
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
