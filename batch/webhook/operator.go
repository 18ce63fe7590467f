package webhook

import (
	"context"
	"errors"
	"slices"

	"github.com/tidegate/tidegate/batch"
)

// EndpointInfo describes an endpoint to an operator, without secrets.
type EndpointInfo struct {
	ID, Tenant   string
	Name         string // its address without query, or "metadata"
	Events       []string
	AllowPrivate bool
}

// Endpoints lists the endpoints of this gateway, one for each tenant.
func (s *Sender) Endpoints() []EndpointInfo {
	routes := *s.routes.Load()
	out := make([]EndpointInfo, 0, len(routes))
	for _, r := range routes {
		out = append(out, r.info())
	}
	return out
}

func (r route) info() EndpointInfo {
	info := EndpointInfo{ID: r.id, Tenant: r.tenant, Name: r.Name(), AllowPrivate: r.AllowPrivate}
	for name, event := range EventTypes() {
		if len(r.Events) == 0 || slices.Contains(r.Events, event) {
			info.Events = append(info.Events, name)
		}
	}
	slices.Sort(info.Events)
	return info
}

// Recent lists deliveries, the newest first, with the names of their endpoints.
func (s *Sender) Recent(ctx context.Context, q batch.DeliveryQuery) ([]NamedDelivery, error) {
	page, err := s.store.Deliveries(ctx, q)
	if err != nil {
		return nil, err
	}
	names := make(map[string]string)
	for _, r := range *s.routes.Load() {
		names[r.id] = r.Name()
	}
	out := make([]NamedDelivery, len(page))
	for i, d := range page {
		out[i] = NamedDelivery{Delivery: d, Type: eventType(d.Event), EventID: eventOf(d).ID, To: names[d.Endpoint]}
		if d.URL != "" {
			out[i].To = nameOf(d.URL)
		}
	}
	return out, nil
}

// NamedDelivery is a delivery with what identifies it to an operator.
type NamedDelivery struct {
	batch.Delivery
	Type, EventID string
	To            string // the address without query, "" if no endpoint of this gateway has it
}

// ErrNoEndpoint reports that no endpoint with an address of its own matches.
var ErrNoEndpoint = errors.New("no webhook with this address is configured")

// TestResult is the result of a test.
type TestResult struct {
	EndpointInfo
	EventID    string
	HTTPStatus int
	Err        error // nil: delivered
}

// Test sends an event of the type webhook.test to the endpoints whose name or URL this is, or
// to all for "". It makes one attempt for each, and stores nothing. Addresses of batches are
// not tested.
func (s *Sender) Test(ctx context.Context, address string) ([]TestResult, error) {
	var out []TestResult
	ev := testEvent(s.now())
	for _, r := range *s.routes.Load() {
		if r.URL == "" || address != "" && address != r.URL && address != r.Name() {
			continue
		}
		a := s.post(ctx, r.URL, r.Endpoint, ev)
		out = append(out, TestResult{r.info(), ev.ID, a.status, a.err})
	}
	if len(out) == 0 {
		return nil, ErrNoEndpoint
	}
	return out, nil
}

// Check returns a *batch.MetadataError for a batch that names an address that webhooks of its
// tenant are not sent to.
func (s *Sender) Check(tenant string, metadata map[string]string) error {
	address, named := metadata[batch.WebhookKey]
	if !named {
		return nil
	}
	reason := errors.New("this gateway sends no webhooks to addresses in the metadata of batches")
	for _, r := range *s.routes.Load() {
		if r.URL != "" || r.tenant != tenant && r.tenant != batch.AllTenants {
			continue
		}
		if reason = r.allows(address); reason == nil {
			return nil
		}
	}
	return &batch.MetadataError{Key: batch.WebhookKey, Err: reason}
}
