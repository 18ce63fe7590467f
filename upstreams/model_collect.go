package upstreams

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/internal/modellabel"
)

// labeller returns the function that maps models to metric labels. Up to
// modellabel.Limit models, each has its own label. With more, such as thousands of
// adapters of a server, only requested models have one, and the others share
// modellabel.Other.
func (m *metrics) labeller(models int) func(model string) string {
	if models <= modellabel.Limit {
		return m.models.labels.Of
	}
	return m.models.labels.Peek
}

// modelSum sums the models that share one label.
type modelSum struct {
	requests, failed   int64
	problems           map[ProblemKind]bool
	servers, available int
}

// collectModels collects the states of models. Requests for models that no server has
// reported have the label "".
func (m *metrics) collectModels(gauge func(d *prometheus.Desc, v float64, labels ...string), counter func(d *prometheus.Desc, v int64, labels ...string)) {
	all := m.pool.ModelStatus()
	label := m.labeller(len(all))
	sums := make(map[string]*modelSum)
	for _, s := range all {
		of := ""
		if s.Model != "" {
			of = label(s.Model)
		}
		sum := sums[of]
		if sum == nil {
			sum = &modelSum{problems: make(map[ProblemKind]bool)}
			sums[of] = sum
		}
		sum.requests += s.TotalRequests
		sum.failed += s.TotalFailed
		sum.problems[s.Problem] = true
		sum.servers = max(sum.servers, s.Servers)
		sum.available = max(sum.available, s.Available)
	}
	for of, sum := range sums {
		counter(descAsked, sum.requests, of)
		counter(descRefused, sum.failed, of)
		for _, kind := range ProblemKinds {
			gauge(descProblem, number(sum.problems[kind]), of, string(kind))
		}
		if of != "" {
			gauge(descServers, float64(sum.servers), of)
			gauge(descAvail, float64(sum.available), of)
		}
	}
}
