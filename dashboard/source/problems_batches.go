package source

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/upstreams"
)

// shownAtRisk limits the late batches that are named.
const shownAtRisk = 10

// batchProblems returns the problems of batches: active are the first in order, late
// are all that will miss their deadlines.
func batchProblems(active []dashboard.Batch, late []engine.AtRisk, servers []dashboard.Upstream) (all []dashboard.Problem) {
	served := make(map[string]bool)
	for _, u := range servers {
		if u.State.TakesRequests() || u.State == upstreams.StateAway { // it starts for lines that wait
			for _, m := range u.Models {
				served[m] = true
			}
		}
	}
	names := make(map[string]string, len(active))
	waits := make(map[string]bool)
	waiting := make(map[string][]dashboard.Batch) // by model
	for _, b := range active {
		names[b.ID] = b.InputName
		if b.Status == batch.InProgress && b.PausedAt.IsZero() && b.Model != "" && !served[b.Model] {
			waits[b.ID] = true
			waiting[b.Model] = append(waiting[b.Model], b)
		}
	}
	models := slices.Sorted(maps.Keys(waiting))
	for _, model := range models[:min(len(models), shownAtRisk)] {
		all = append(all, waitProblem(model, waiting[model]))
	}
	if more := len(models) - shownAtRisk; more > 0 {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Warning, What: "Batches wait for more models", Detail: fmt.Sprintf("%d besides those named", more),
			Remedy: "No server that takes requests has them. Start servers, or cancel the batches.",
		})
	}
	late = slices.DeleteFunc(slices.Clone(late), func(l engine.AtRisk) bool { return waits[l.ID] })
	for _, l := range late[:min(len(late), shownAtRisk)] {
		all = append(all, lateProblem(l, names[l.ID]))
	}
	if more := len(late) - shownAtRisk; more > 0 {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Warning, What: "More batches will miss their deadlines", Detail: fmt.Sprintf("%d besides those named", more),
			Remedy: "All of them together are more than the servers do in time: add servers, or cancel what is not needed.",
		})
	}
	return all
}

// waitProblem returns the problem of batches that wait for a model, with a link to the
// oldest of them.
func waitProblem(model string, batches []dashboard.Batch) dashboard.Problem {
	oldest := slices.MinFunc(batches, func(a, b dashboard.Batch) int { return a.CreatedAt.Compare(b.CreatedAt) })
	p := problemOf(oldest.Batch, oldest.InputName)
	name := p.What
	p.What += " waits for the model " + model
	p.Remedy = "No server that takes requests has it. Start one, or cancel the batch."
	if n := len(batches); n > 1 {
		p.What = fmt.Sprintf("%d batches wait for the model %s", n, model)
		p.Detail = name + " is the oldest of those listed"
		p.Remedy = "No server that takes requests has it. Start one, or cancel the batches."
	}
	return p
}

// problemOf returns a problem of a batch with only its subject set.
func problemOf(b batch.Batch, name string) dashboard.Problem {
	if name == "" {
		name = b.ID
	}
	return dashboard.Problem{Severity: dashboard.Warning, What: "Batch " + name, Subject: dashboard.BatchSubject, SubjectID: b.ID}
}

func lateProblem(l engine.AtRisk, name string) dashboard.Problem {
	p := problemOf(l.Batch, name)
	if l.Why == engine.RiskPaused {
		p.What += " is paused and"
	}
	p.What += " will miss its deadline"
	p.Detail = fmt.Sprintf("%d of %d lines are left", l.Left(), l.Counts.Total)
	const rest = " What is not done by then ends as batch_expired in its error file."
	switch l.Why {
	case engine.RiskPaused:
		p.Remedy = "Resume it." + rest
	case engine.RiskClosed:
		p.Detail += "; batches run again after its deadline"
		p.Remedy = "Change hours in the configuration." + rest
	case engine.RiskWaiting:
		p.Detail += "; too much goes before it"
		p.Remedy = "Raise its priority, pause others, or add servers." + rest
	case engine.RiskStalled:
		p.Detail += "; no line of its model ended in the last minute"
		p.Remedy = "See whether the servers of its model answer, and whether live requests leave room." + rest
	default:
		p.Remedy = "Raise its priority, pause others, or add servers." + rest
	}
	return p
}
