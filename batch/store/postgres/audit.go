package postgres

import (
	"context"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

var (
	addAudit    = declare(`INSERT INTO audit_log (` + store.AuditColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`)
	auditCursor = declare(`SELECT at FROM audit_log WHERE seq = $1`)
	auditPage   = declare(`SELECT seq, ` + store.AuditColumns + ` FROM audit_log WHERE at >= $1 AND (at, seq) < ($2, $3) ORDER BY at DESC, seq DESC LIMIT $4`)
	auditBeyond = declare(`SELECT seq FROM audit_log WHERE outcome = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2`)
	auditFirst  = declare(`SELECT seq FROM audit_log WHERE outcome = $1 ORDER BY seq LIMIT 1`)
	auditLast   = declare(`SELECT seq FROM audit_log WHERE outcome = $1 ORDER BY seq DESC LIMIT 1`)
	pruneOld    = declare(`DELETE FROM audit_log WHERE seq = ANY (ARRAY(SELECT seq FROM audit_log WHERE at <= $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED))`)
	pruneBeyond = declare(`DELETE FROM audit_log WHERE seq = ANY (ARRAY(SELECT seq FROM audit_log WHERE outcome = $1 AND seq <= $2 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED))`)
)

// audit adds the entry of a change to the transaction, if a client made it.
func (t *tx) audit(ctx context.Context, action batch.AuditAction, object, tenant, detail string) {
	if e, ok := batch.Audited(ctx, action, object, tenant, detail); ok {
		t.later(addAudit, store.AuditArgs(t.now, e)...)
	}
}

// AddAudit adds entries.
func (s *Store) AddAudit(ctx context.Context, entries []batch.AuditEntry) error {
	return s.write(ctx, "adding to audit log", func(t *tx) error {
		for _, e := range entries {
			t.later(addAudit, store.AuditArgs(t.now, e)...)
		}
		return nil
	})
}

// AuditEntries returns a page of entries.
func (s *Store) AuditEntries(ctx context.Context, q batch.AuditQuery) (page []batch.AuditEntry, more bool, err error) {
	err = s.report(ctx, "reading audit log", func(t *tx) error {
		since, until, before := store.AuditRange(q)
		if q.After != 0 {
			at := store.Micros(q.AfterAt)
			if q.AfterAt.IsZero() {
				at, err = one(ctx, t, store.Value[int64], auditCursor, q.After)
				if at, err = store.Cursor(at, err, "entry of the audit log"); err != nil {
					return err
				}
			}
			if at < until {
				until, before = at, q.After
			}
		}
		page, err = all(ctx, t, store.ScanAudit, auditPage, since, until, before, store.LimitOf(q.Limit)+1)
		return err
	})
	page, more = store.Cut(page, q.Limit)
	return page, more, err
}

// PruneAudit removes the oldest entries.
func (s *Store) PruneAudit(ctx context.Context, keep batch.AuditRetention, limit int) (n int, err error) {
	var beyond []store.AuditBeyond
	err = s.report(ctx, "counting audit log", func(t *tx) (err error) {
		beyond, err = store.FindBeyond(keep, func(outcome batch.AuditOutcome, skip int) (int64, error) {
			switch skip {
			case store.Oldest:
				return one(ctx, t, store.Value[int64], auditFirst, string(outcome))
			case 0:
				return one(ctx, t, store.Value[int64], auditLast, string(outcome))
			default:
				return one(ctx, t, store.Value[int64], auditBeyond, string(outcome), skip)
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
