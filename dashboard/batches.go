package dashboard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/templates"
)

// batchesPerPage is the page size of the list.
const batchesPerPage = 50

// The orders of the list in URLs, as in templates.BatchOrders.
const (
	newestFirst = ""
	oldestFirst = "oldest"
	byState     = "state"
)

// maxText limits a search text, in bytes.
const maxText = 200

func (d *Dashboard) batchList(w http.ResponseWriter, r *http.Request) error {
	s := d.site(r, "Batches", "Batches")
	all := d.ofAllTenants(r)
	v, err := d.batchListModel(r.Context(), r.URL.Query(), s, d.client(r), all)
	if err != nil {
		return err
	}
	if !all { // streams are shared by the clients of a tenant
		s.Stream = "/events/batches"
	}
	if q := r.URL.Query(); !all && len(q) > 0 {
		s.Stream += "?" + q.Encode()
	}
	return d.render(w, r, http.StatusOK, templates.BatchListPage(s, v))
}

// whose is the parameter that selects the batches of all tenants.
const whose = "whose"

// ofAllTenants reports whether the list has the batches of all tenants, which only
// administrators get.
func (d *Dashboard) ofAllTenants(r *http.Request) bool {
	return r.URL.Query().Get(whose) == templates.AllTenants && d.client(r).SeesTenants()
}

// batchListLive updates the list. Filtered lists and later pages are updated less
// often: they cost the store more and change less.
func (d *Dashboard) batchListLive(ctx context.Context, r *http.Request, s templates.Site, snap *snapshot) (sections []section, err error) {
	v, err := d.batchListModel(ctx, r.URL.Query(), s, d.client(r), false)
	if err != nil {
		return nil, err
	}
	return sections, part(ctx, &sections, "list", templates.BatchListTable(s, v))
}

func (d *Dashboard) batchListModel(ctx context.Context, query url.Values, s templates.Site, client access.Identity, all bool) (templates.BatchList, error) {
	f := templates.BatchFilter{
		State: query.Get("state"), Model: query.Get("model"), Text: query.Get("q"),
		From: query.Get("from"), To: query.Get("to"), Order: query.Get("order"),
	}
	v := templates.BatchList{Filter: f, Actions: d.bulkButtons(s)}
	who := ""
	if all { // actions are those on batches of one tenant
		who, v.Filter.All, v.Actions = templates.AllTenants, true, nil
	}
	if f.Model != "" {
		v.Models = []string{f.Model}
	}
	q := BatchQuery{ByState: f.Order == byState, AllTenants: all, BatchFilter: batch.BatchFilter{
		OldestFirst: f.Order == oldestFirst, Model: f.Model, Text: f.Text, After: query.Get("after"), Limit: batchesPerPage,
	}}
	switch {
	case f.State == "active":
		q.Active = true
	case f.State == "paused":
		q.Paused = true
	case slices.Contains(templates.BatchStates, f.State):
		q.Status = batch.Status(f.State)
	case f.State != "":
		v.Filter.Wrong = "Unknown state."
	}
	if !slices.ContainsFunc(templates.BatchOrders, func(o templates.Pair) bool { return o.Name == f.Order }) {
		v.Filter.Wrong = "Unknown order."
	}
	var ok bool
	if q.From, _, ok = dayIn(f.From, s.Zone); !ok {
		v.Filter.Wrong = "The first day is not a date."
	}
	if _, q.To, ok = dayIn(f.To, s.Zone); !ok { // the end of the day is included
		v.Filter.Wrong = "The last day is not a date."
	}
	if len(f.Text) > maxText {
		v.Filter.Wrong = "The search text is too long."
	}
	if v.Filter.Wrong != "" {
		return v, nil
	}
	page, err := d.source.Batches.List(ctx, q)
	if err != nil {
		return templates.BatchList{}, err
	}
	for _, b := range page.Batches {
		row := batchRow(b, s.Now)
		if all {
			row.Tenant, row.Foreign = b.Tenant, b.Tenant != s.Tenant
		}
		v.Rows = append(v.Rows, row)
	}
	v.Models = access.VisibleModels(client, page.Models)
	if f.Model != "" && !slices.Contains(v.Models, f.Model) {
		v.Models = append(slices.Clone(v.Models), f.Model)
	}
	like := []string{"state", f.State, "model", f.Model, "q", f.Text, "from", f.From, "to", f.To, whose, who}
	same := append(slices.Clone(like), "order", f.Order)
	list := s.To("batches")
	byAge := newestFirst
	if f.Order == newestFirst {
		byAge = oldestFirst
	}
	v.ByState = s.With(list, append(slices.Clone(like), "order", byState)...)
	v.ByAge = s.With(list, append(slices.Clone(like), "order", byAge)...)
	v.Here = strings.TrimPrefix(string(s.With(list, append(slices.Clone(same), "after", q.After)...)), s.Base)
	v.Pages.What = "Pages of batches"
	if q.After != "" {
		v.Pages.First = s.With(list, same...)
	}
	if page.More && len(page.Batches) > 0 {
		v.Pages.Next = s.With(list, append(slices.Clone(same), "after", page.After)...)
	}
	return v, nil
}
