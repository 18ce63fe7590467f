package dashboardtest

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

// auditEntries is the number of entries of the audit log.
const auditEntries = 60

// auditLog is the log of a gateway whose batches are deleted every minute.
type auditLog struct{ *Fake }

func (a auditLog) Entries(_ context.Context, q batch.AuditQuery) (page []batch.AuditEntry, more bool, err error) {
	unlock, err := a.begin()
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	if a.size == 0 {
		return nil, false, nil
	}
	last := int64(auditEntries)
	if q.After != 0 {
		last = q.After - 1
	}
	for seq := last; seq > 0; seq-- {
		if len(page) == q.Limit {
			return page, true, nil
		}
		e := batch.AuditEntry{
			Seq: seq, At: a.Clock().Add(time.Duration(seq-auditEntries) * time.Minute), Action: batch.AuditBatchDelete, Outcome: batch.AuditDone,
			Object: a.Say("batch_1"), Tenant: a.Say("default"), Detail: a.Say("with its input"), KeyID: a.Say("static/ops"), KeyName: a.Say("ops"), KeyTenant: a.Say("default"),
			Origin: access.Origin{Via: access.ViaDashboard, Address: "198.51.100.7", RequestID: a.Say(fmt.Sprintf("req_%d", seq))},
		}
		if seq%7 == 0 {
			e.Outcome, e.KeyID = batch.AuditRefused, ""
		}
		page = append(page, e)
	}
	return page, false, nil
}
