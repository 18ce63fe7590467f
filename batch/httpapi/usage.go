package httpapi

import (
	"bytes"
	"context"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/csvtable"
	"github.com/tidegate/tidegate/internal/openai"
)

// Usages has the methods that the API needs for usage and its cost.
type Usages interface {
	// UsageTable returns the usage of a tenant, or of batch.AllTenants if it is not by batch.
	UsageTable(ctx context.Context, tenant string, q batch.UsageTableQuery) (batch.UsageTable, error)
	// Currency returns the currency of costs, "" if there are no prices.
	Currency() string
}

// usageRow is a row of a usage report. Members that the report is not grouped by are
// omitted.
type usageRow struct {
	BatchID          *string     `json:"batch_id,omitempty"`
	Day              *string     `json:"day,omitempty"`
	Tenant           *string     `json:"tenant,omitempty"`
	KeyID            *string     `json:"key_id,omitempty"` // "" for clients without a key
	KeyName          *string     `json:"key_name,omitempty"`
	Model            *string     `json:"model,omitempty"`
	Class            *string     `json:"class,omitempty"`
	Requests         int64       `json:"requests"`
	FailedRequests   int64       `json:"failed_requests"`
	InputTokens      int64       `json:"input_tokens"`
	CachedTokens     int64       `json:"cached_input_tokens"`
	OutputTokens     int64       `json:"output_tokens"`
	TotalTokens      int64       `json:"total_tokens"`
	Cost             batch.Money `json:"cost"`
	UnpricedRequests int64       `json:"unpriced_requests"`
	Estimated        int64       `json:"estimated_requests"`
}

type usageReport struct {
	Object   string     `json:"object"` // "usage"
	From     string     `json:"from"`
	To       string     `json:"to"`
	GroupBy  []string   `json:"group_by"`
	Currency *string    `json:"currency"` // null without prices
	Data     []usageRow `json:"data"`
	Total    usageRow   `json:"total"`
	HasMore  bool       `json:"has_more"`
}

// usageRequest holds the parameters of a usage report.
type usageRequest struct {
	tenant   string // or batch.AllTenants
	from, to time.Time
	groups   []string
	query    batch.UsageTableQuery
	csv      bool
}

// usageGroups are the values of group_by.
var usageGroups = []string{"day", "key", "tenant", "model", "class", "batch"}

// getUsage returns tokens and costs: of the client's tenant, or of every tenant if the client
// is an administrator.
func (h *handler) getUsage(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	u, err := h.usageRequest(r, query)
	if err != nil {
		return err
	}
	table, err := h.batches.UsageTable(r.Context(), u.tenant, u.query)
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	if u.csv {
		return sendUsageCSV(w, &u, &table)
	}
	o := usageReport{
		Object: "usage", From: u.from.Format(time.DateOnly), To: u.to.Format(time.DateOnly), GroupBy: u.groups,
		Currency: text(table.Currency), Data: make([]usageRow, len(table.Rows)), Total: wireUsage(&table.Total, nil), HasMore: table.More,
	}
	for i := range table.Rows {
		o.Data[i] = wireUsage(&table.Rows[i], table.Columns)
	}
	return answer(w, o)
}

func (h *handler) usageRequest(r *http.Request, q query) (u usageRequest, err error) {
	if err := u.readGroups(q); err != nil {
		return u, err
	}
	if err := h.readDays(r.Context(), q, &u); err != nil {
		return u, err
	}
	for name, to := range map[string]*string{"key": &u.query.KeyID, "model": &u.query.Model} {
		if *to, _, err = q.get(name); err != nil {
			return u, err
		}
	}
	if u.query.Class, err = q.oneOf("class", batch.ClassLive, batch.ClassBatch); err != nil {
		return u, err
	}
	if u.query.ByBatch && u.query.Model+u.query.Class != "" {
		return u, openai.InvalidRequest("group_by", "invalid_value", "With group_by=batch, usage cannot be selected by model or class.")
	}
	if u.query.Limit, err = q.limit(batch.MaxUsageRows, batch.MaxUsageRows); err != nil {
		return u, err
	}
	format, err := q.oneOf("format", "json", "csv")
	if err != nil {
		return u, err
	}
	u.csv = format == "csv" || format == "" && acceptsCSV(r)
	return u, u.readTenant(access.From(r.Context()), q)
}

func (u *usageRequest) readGroups(q query) error {
	list, given, err := q.get("group_by")
	if err != nil {
		return err
	}
	if !given {
		list = "day"
	}
	by := &u.query.By
	chosen := map[string]*bool{"day": &by.Day, "key": &by.Key, "tenant": &by.Tenant, "model": &by.Model, "class": &by.Class, "batch": &u.query.ByBatch}
	for name := range strings.SplitSeq(list, ",") {
		to := chosen[name]
		if to == nil {
			return openai.InvalidValue("group_by", clip(name), usageGroups...)
		}
		*to = true
	}
	for _, name := range usageGroups {
		if *chosen[name] {
			u.groups = append(u.groups, name)
		}
	}
	if u.query.ByBatch && len(u.groups) > 1 {
		return openai.InvalidRequest("group_by", "invalid_value", "Invalid 'group_by': batch cannot be combined with other groups.")
	}
	return nil
}

// readDays reads the period, which is the current month, UTC, by default.
func (h *handler) readDays(ctx context.Context, q query, u *usageRequest) error {
	now, err := h.batches.StoreTime(ctx)
	if err != nil {
		return err
	}
	now = now.UTC()
	u.from, u.to = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC), now.Truncate(24*time.Hour)
	for name, to := range map[string]*time.Time{"from": &u.from, "to": &u.to} {
		s, given, err := q.get(name)
		if err != nil {
			return err
		}
		if !given {
			continue
		}
		if *to, err = time.Parse(time.DateOnly, s); err != nil {
			return openai.InvalidRequest(name, "invalid_value", "Invalid '%s': expected a day such as 2027-01-31, UTC, but got '%s' instead.", name, clip(s))
		}
	}
	if u.to.Before(u.from) {
		return openai.InvalidRequest("to", "invalid_value", "Invalid 'to': %s is before %s.", u.to.Format(time.DateOnly), u.from.Format(time.DateOnly))
	}
	u.query.From, u.query.To = u.from, u.to.AddDate(0, 0, 1)
	return nil
}

// readTenant selects the tenant. Only administrators may select another one than their own,
// and see all tenants by default, except in reports by batch.
func (u *usageRequest) readTenant(client access.Identity, q query) error {
	tenant, given, err := q.get("tenant")
	switch {
	case err != nil:
		return err
	case given && tenant != client.Tenant && !client.SeesTenants():
		return openai.MissingScope(string(access.Admin))
	case given:
		if err := access.CheckTenant(tenant); err != nil {
			return openai.InvalidRequest("tenant", "invalid_value", "Invalid 'tenant': %v.", err)
		}
		u.tenant = tenant
	case client.SeesTenants() && !u.query.ByBatch:
		u.tenant = batch.AllTenants
	default:
		u.tenant = client.Tenant
	}
	return nil
}

// acceptsCSV reports whether a client asks for CSV rather than JSON.
func acceptsCSV(r *http.Request) bool {
	for _, value := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(value, ",") {
			switch kind, _, _ := mime.ParseMediaType(kind); kind {
			case "text/csv":
				return true
			case "application/json":
				return false
			}
		}
	}
	return false
}

func sendUsageCSV(w http.ResponseWriter, u *usageRequest, table *batch.UsageTable) error {
	var body bytes.Buffer
	if err := table.WriteCSV(&body); err != nil {
		return err
	}
	h := w.Header()
	csvtable.SetHeader(h, "usage-"+u.from.Format(time.DateOnly)+"-"+u.to.Format(time.DateOnly)+".csv")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	if table.More {
		h.Set("X-Has-More", "true")
	}
	_, _ = w.Write(body.Bytes()) // an error means that the client has disconnected
	return nil
}

func wireUsage(r *batch.UsageRow, columns []batch.UsageColumn) usageRow {
	o := usageRow{
		Requests: r.Requests, FailedRequests: r.Failures, InputTokens: r.InputTokens, CachedTokens: r.CachedTokens,
		OutputTokens: r.OutputTokens, TotalTokens: r.TotalTokens(), Cost: r.Cost, UnpricedRequests: r.Unpriced, Estimated: r.Estimated,
	}
	to := map[string]**string{"batch_id": &o.BatchID, "day": &o.Day, "tenant": &o.Tenant, "key_id": &o.KeyID, "key_name": &o.KeyName, "model": &o.Model, "class": &o.Class}
	for _, c := range columns {
		*to[c.Name] = new(c.Text(r))
	}
	return o
}
