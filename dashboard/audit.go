package dashboard

import (
	"context"
	"net/http"
	"strconv"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// auditPerPage is the page size of the audit log.
const auditPerPage = 50

// Audit provides the audit log, which is that of all tenants.
type Audit interface {
	// Entries returns a page, the newest first, and reports whether more follow.
	Entries(ctx context.Context, q batch.AuditQuery) (page []batch.AuditEntry, more bool, err error)
}

func (d *Dashboard) audit(w http.ResponseWriter, r *http.Request) error {
	q := batch.AuditQuery{Limit: auditPerPage}
	if text := r.URL.Query().Get("after"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return batch.ErrBadCursor
		}
		q.After = n
	}
	page, more, err := d.source.Audit.Entries(r.Context(), q)
	if err != nil {
		return err
	}
	s := d.site(r, "Audit", "Audit log")
	v := templates.AuditLog{Pages: templates.Pages{What: "Pages of the audit log"}}
	client := d.client(r)
	for _, e := range page {
		e = e.For(client)
		v.Rows = append(v.Rows, templates.AuditRow{
			At: e.At, Action: string(e.Action), Refused: e.Outcome == batch.AuditRefused, Target: e.Object, Tenant: e.Tenant, Detail: e.Detail,
			KeyID: e.KeyID, KeyName: e.KeyName, KeyTenant: e.KeyTenant, Via: e.Via, Address: e.Address, RequestID: e.RequestID,
		})
	}
	if q.After != 0 {
		v.Pages.First = s.To("audit")
	}
	if more {
		v.Pages.Next = s.With(s.To("audit"), "after", strconv.FormatInt(page[len(page)-1].Seq, 10))
	}
	return d.render(w, r, http.StatusOK, templates.AuditPage(s, v))
}
