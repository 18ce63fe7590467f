package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/csvtable"
	"github.com/tidegate/tidegate/internal/openai"
)

// auditEntry is an entry of the audit log in the API.
type auditEntry struct {
	Object    string  `json:"object"` // "audit.entry"
	ID        string  `json:"id"`
	CreatedAt int64   `json:"created_at"`
	Action    string  `json:"action"`
	Outcome   string  `json:"outcome"` // done or refused
	Target    string  `json:"target"`  // id or URL of what was changed
	Tenant    string  `json:"tenant"`  // of the target
	Detail    string  `json:"detail"`
	KeyID     *string `json:"key_id"` // null: the client had no key
	KeyName   *string `json:"key_name"`
	KeyTenant *string `json:"key_tenant"`
	Via       string  `json:"via"`
	Address   string  `json:"address"`
	RequestID string  `json:"request_id"`
}

// auditList is the response of GET /v1/audit.
type auditList struct {
	Object  string       `json:"object"` // "list"
	Data    []auditEntry `json:"data"`
	FirstID *string      `json:"first_id"`
	LastID  *string      `json:"last_id"`
	HasMore bool         `json:"has_more"`
}

const (
	auditPrefix  = "audit_"
	auditPage    = 100
	maxAuditPage = 1000
)

func wireAudit(e batch.AuditEntry) auditEntry {
	orNull := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	return auditEntry{
		Object: "audit.entry", ID: auditPrefix + strconv.FormatInt(e.Seq, 10), CreatedAt: e.At.Unix(), Action: string(e.Action), Outcome: string(e.Outcome),
		Target: e.Object, Tenant: e.Tenant, Detail: e.Detail, KeyID: orNull(e.KeyID), KeyName: orNull(e.KeyName), KeyTenant: orNull(e.KeyTenant),
		Via: e.Via, Address: e.Address, RequestID: e.RequestID,
	}
}

// readAudit serves GET /v1/audit: a page, or with ?format=jsonl or csv all entries of a period.
func (h *APIHandler) readAudit(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !reads(w, r) {
		return
	}
	q, err := auditQuery(r)
	if err != nil {
		openai.WriteError(w, r, err)
		return
	}
	format := r.URL.Query().Get("format")
	switch format {
	case "", "json":
		h.auditPage(w, r, q)
	case "jsonl", "csv":
		h.exportAudit(w, r, q, format)
	default:
		openai.WriteError(w, r, openai.InvalidValue("format", format, "json", "jsonl", "csv"))
	}
}

// auditQuery reads ?after=, ?limit=, ?since= and ?until=.
func auditQuery(r *http.Request) (q batch.AuditQuery, _ *openai.Error) {
	values := r.URL.Query()
	q.Limit = auditPage
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAuditPage {
			return q, openai.InvalidRequest("limit", "invalid_value", "Invalid 'limit': expected a whole number from 1 to %d.", maxAuditPage)
		}
		q.Limit = n
	}
	if text := values.Get("after"); text != "" {
		number, ok := strings.CutPrefix(text, auditPrefix)
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil || n < 1 {
			return q, openai.InvalidRequest("after", "invalid_value", "Invalid 'after': expected the id of an entry.")
		}
		q.After = n
	}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		at, ok := parseTime(text)
		if !ok {
			return q, openai.InvalidRequest(name, "invalid_value", "Invalid '%s': expected seconds since 1970, a date such as 2027-01-31 or a time such as 2027-01-31T12:00:00Z.", name)
		}
		*to = at
	}
	return q, nil
}

// parseTime reads seconds since 1970, a date, or a time as in RFC 3339.
func parseTime(text string) (time.Time, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		const last = 253402300799 // of the year 9999
		return time.Unix(n, 0), n >= 0 && n <= last
	}
	at, err := parseExpires(text)
	return at, err == nil && at.Year() >= 1970 && at.Year() <= 9999
}

// auditError returns the answer for an error of the store.
func auditError(err error) error {
	switch {
	case errors.Is(err, batch.ErrBadCursor):
		return openai.InvalidRequest("after", "invalid_value", "Invalid 'after': there is no such entry. It may have been removed.")
	case errors.Is(err, batch.ErrUnavailable):
		return openai.Unavailable(startingRetry, "The audit log cannot be read now.").WithCause(err)
	default:
		return openai.Internal(err)
	}
}

func (h *APIHandler) auditPage(w http.ResponseWriter, r *http.Request, q batch.AuditQuery) {
	page, more, err := h.app.runtime.engine.Store().AuditEntries(r.Context(), q)
	if err != nil {
		openai.WriteError(w, r, auditError(err))
		return
	}
	list := auditList{Object: "list", Data: []auditEntry{}, HasMore: more}
	for _, e := range page {
		list.Data = append(list.Data, wireAudit(e.For(clientOf(r))))
	}
	if n := len(list.Data); n > 0 {
		list.FirstID, list.LastID = &list.Data[0].ID, &list.Data[n-1].ID
	}
	writeJSON(w, r, http.StatusOK, list)
}

// exportAudit writes all entries of a period. After an error in the middle it aborts the
// connection, so that a partial export is not taken for complete.
func (h *APIHandler) exportAudit(w http.ResponseWriter, r *http.Request, q batch.AuditQuery, format string) {
	q.Limit = maxAuditPage
	page, more, err := h.app.runtime.engine.Store().AuditEntries(r.Context(), q)
	if err != nil {
		openai.WriteError(w, r, auditError(err))
		return
	}
	var write func(auditEntry) error
	flush := func() error { return nil }
	if format == "csv" {
		csvtable.SetHeader(w.Header(), "audit.csv")
		out := csvtable.NewWriter(w, csvNames...)
		write = func(e auditEntry) error { out.Row(csvRow(e)...); return nil }
		flush = out.Flush
	} else {
		header := w.Header()
		header.Set("Content-Type", "application/jsonl")
		header.Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
		header.Set("X-Content-Type-Options", "nosniff")
		out := json.NewEncoder(w)
		write = func(e auditEntry) error { return out.Encode(e) }
	}
	if r.Method == http.MethodHead {
		return
	}
	for err == nil {
		for _, e := range page {
			if err = write(wireAudit(e.For(clientOf(r)))); err != nil {
				break
			}
		}
		if err == nil {
			err = flush()
		}
		if err != nil || !more {
			break
		}
		last := page[len(page)-1]
		q.After, q.AfterAt = last.Seq, last.At // it may be removed while the client reads
		page, more, err = h.app.runtime.engine.Store().AuditEntries(r.Context(), q)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

var csvNames = []string{"id", "time", "action", "outcome", "target", "tenant", "detail", "key_id", "key_name", "key_tenant", "via", "address", "request_id"}

func csvRow(e auditEntry) []any {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	return []any{
		e.ID, time.Unix(e.CreatedAt, 0).UTC().Format(time.RFC3339), e.Action, e.Outcome, e.Target, e.Tenant, e.Detail,
		text(e.KeyID), text(e.KeyName), text(e.KeyTenant), e.Via, e.Address, e.RequestID,
	}
}

// privileged reports whether refused requests for routes with a scope are audited.
func privileged(s access.Scope) bool { return s == access.Admin || s == access.Operate }
