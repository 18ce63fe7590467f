package upstreams

import (
	"maps"

	"github.com/tidegate/tidegate/access"
)

// For returns the status as a client sees it: without the models that it may not use. All
// else is the server's and common to all clients.
func (s UpstreamStatus) For(client access.Identity) UpstreamStatus {
	if len(s.Models) > 0 && !client.Sees(s.Models[0]) {
		s.MaxModelLen = 0 // the length of the first model
	}
	s.Models = access.VisibleModels(client, s.Models)
	s.CachedPrompts = maps.Clone(s.CachedPrompts)
	maps.DeleteFunc(s.CachedPrompts, func(model string, _ CachedPart) bool { return !client.Sees(model) })
	return s
}

// For returns the telemetry as a client sees it, see UpstreamStatus.For.
func (t Telemetry) For(client access.Identity) Telemetry {
	t.Failures = access.Visible(client, t.Failures, func(f Failure) string { return f.Model })
	return t
}

// VisibleProblems returns the problems of the models that a client sees.
func VisibleProblems(client access.Identity, all []ModelStatus) []ModelStatus {
	return access.Visible(client, all, func(m ModelStatus) string { return m.Model })
}

// VisiblePrices returns the prices of batch of the models that a client sees.
func VisiblePrices(client access.Identity, all []Price) []Price {
	return access.Visible(client, all, func(p Price) string { return p.Model })
}

// VisibleQueues returns the queues of the models that a client sees.
func VisibleQueues(client access.Identity, all []QueueStatus) []QueueStatus {
	return access.Visible(client, all, func(q QueueStatus) string { return q.Model })
}
