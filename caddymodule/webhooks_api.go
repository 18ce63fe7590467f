package caddymodule

import (
	"net/http"
	"strconv"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/webhook"
	"github.com/tidegate/tidegate/internal/openai"
)

// webhookList is the response of GET /webhooks.
type webhookList struct {
	Object     string            `json:"object"` // "webhooks"
	Endpoints  []webhookEndpoint `json:"endpoints"`
	Deliveries []webhookDelivery `json:"deliveries"`
	HasMore    bool              `json:"has_more"`
	LastID     int64             `json:"last_id,omitempty"` // ?after= of the next page
}

// webhookEndpoint is an endpoint in the API, without secrets and query.
type webhookEndpoint struct {
	ID           string   `json:"id"`
	URL          string   `json:"url"`
	Tenant       string   `json:"tenant"`
	Events       []string `json:"events"`
	AllowPrivate bool     `json:"allow_private,omitempty"`
}

// webhookDelivery is a delivery in the API.
type webhookDelivery struct {
	ID         int64  `json:"id"`
	EventID    string `json:"event_id"`
	Type       string `json:"type"`
	BatchID    string `json:"batch_id"`
	Tenant     string `json:"tenant"`
	EndpointID string `json:"endpoint_id"`
	URL        string `json:"url"` // without query; "" if no endpoint of this gateway has it
	State      string `json:"state"`
	Attempts   int    `json:"attempts"`
	HTTPStatus int    `json:"http_status,omitempty"`
	Error      string `json:"error,omitempty"`
	CreatedAt  int64  `json:"created_at"`
	NextAt     *int64 `json:"next_at,omitempty"` // while it is pending
	EndedAt    *int64 `json:"ended_at,omitempty"`
}

// webhookTest is the response of POST /webhooks/test.
type webhookTest struct {
	Object string              `json:"object"` // "webhooks.test"
	OK     bool                `json:"ok"`
	Data   []webhookTestResult `json:"data"`
}

// webhookTestResult is the result of one endpoint.
type webhookTestResult struct {
	URL        string `json:"url"`
	Tenant     string `json:"tenant"`
	EventID    string `json:"event_id"`
	Delivered  bool   `json:"delivered"`
	HTTPStatus int    `json:"http_status,omitempty"`
	Error      string `json:"error,omitempty"`
}

// The sizes of a page of deliveries.
const (
	deliveryPage    = 50
	maxDeliveryPage = 500
)

// webhooks serves GET /webhooks, and POST /webhooks/test with the body {"url": …}.
func (h *APIHandler) webhooks(w http.ResponseWriter, r *http.Request, path string) {
	if path == "/webhooks/test" {
		h.testWebhooks(w, r)
		return
	}
	if !reads(w, r) {
		return
	}
	q, err := deliveryQuery(r)
	if err != nil {
		openai.WriteError(w, r, err)
		return
	}
	asked := q.Limit
	q.Limit++
	hooks := h.app.runtime.hooks
	page, failed := hooks.Recent(r.Context(), q)
	if failed != nil {
		openai.WriteError(w, r, openai.Unavailable(startingRetry, "The store is not available. Please try again.").WithCause(failed))
		return
	}
	out := webhookList{Object: "webhooks", Endpoints: []webhookEndpoint{}, Deliveries: []webhookDelivery{}, HasMore: len(page) > asked}
	for _, e := range hooks.Endpoints() {
		out.Endpoints = append(out.Endpoints, webhookEndpoint{e.ID, e.Name, e.Tenant, e.Events, e.AllowPrivate})
	}
	for _, d := range page[:min(len(page), asked)] {
		out.Deliveries = append(out.Deliveries, wireDelivery(d))
		out.LastID = d.Seq
	}
	writeJSON(w, r, http.StatusOK, out)
}

// deliveryQuery reads ?state=, ?tenant=, ?after= and ?limit=.
func deliveryQuery(r *http.Request) (batch.DeliveryQuery, *openai.Error) {
	values := r.URL.Query()
	q := batch.DeliveryQuery{Tenant: values.Get("tenant"), State: batch.DeliveryState(values.Get("state")), Limit: deliveryPage}
	switch q.State {
	case "", batch.DeliveryPending, batch.DeliveryDelivered, batch.DeliveryFailed:
	default:
		return q, openai.InvalidValue("state", string(q.State), string(batch.DeliveryPending), string(batch.DeliveryDelivered), string(batch.DeliveryFailed))
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxDeliveryPage {
			return q, openai.InvalidRequest("limit", "invalid_value", "Invalid 'limit': expected a whole number from 1 to %d.", maxDeliveryPage)
		}
		q.Limit = n
	}
	if text := values.Get("after"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return q, openai.InvalidRequest("after", "invalid_value", "Invalid 'after': expected the id of a delivery.")
		}
		q.Before = n
	}
	return q, nil
}

func wireDelivery(d webhook.NamedDelivery) webhookDelivery {
	out := webhookDelivery{
		ID: d.Seq, EventID: d.EventID, Type: d.Type, BatchID: d.BatchID, Tenant: d.Tenant, EndpointID: d.Endpoint, URL: d.To,
		State: string(d.State), Attempts: d.Attempts, HTTPStatus: d.HTTPStatus, Error: d.Error, CreatedAt: d.CreatedAt.Unix(), EndedAt: unixOrNil(d.EndedAt),
	}
	if d.State == batch.DeliveryPending {
		out.NextAt = unixOrNil(d.NextAt)
	}
	return out
}

// testWebhooks sends a test event to the endpoint that the body names, or to all.
func (h *APIHandler) testWebhooks(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		openai.WriteError(w, r, openai.MethodNotAllowed(r.Method, r.URL.Path))
		return
	}
	var request struct {
		URL string `json:"url"`
	}
	if err := readObject(w, r, &request); err != nil {
		openai.WriteError(w, r, err)
		return
	}
	results, err := webhookService{h.app}.test(r.Context(), request.URL)
	if err != nil {
		openai.WriteError(w, r, err)
		return
	}
	out := webhookTest{Object: "webhooks.test", OK: true}
	for _, t := range results {
		one := webhookTestResult{URL: t.Name, Tenant: t.Tenant, EventID: t.EventID, Delivered: t.Err == nil, HTTPStatus: t.HTTPStatus}
		if t.Err != nil {
			one.Error, out.OK = t.Err.Error(), false
		}
		out.Data = append(out.Data, one)
	}
	writeJSON(w, r, http.StatusOK, out)
}
