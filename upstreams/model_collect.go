package upstreams

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/internal/modellabel"
)

// labeller returns how a collection labels models. As long as they are few, each has
// a label of its own. A server may have thousands of adapters: then only models
// that were asked for do, and the rest are modellabel.Other together.
func (m *metrics) labeller(models int) func(model string) string {
	if models <= modellabel.Limit {
		return m.models.labels.Of
	}
	return m.models.labels.Peek
}

// modelSum is what the models of one label are together.
type modelSum struct {
	requests, failed   int64
	problems           map[ProblemKind]bool
	servers, available int
}

// collectModels sends the states of models. Requests for no model that a server has
// told are of the model "".
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
