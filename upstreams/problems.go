package upstreams

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ProblemKind is a kind of problem with a model.
type ProblemKind string

// The kinds of problems.
const (
	// ProblemNoServer means that no server accepts requests for the model: they are
	// refused.
	ProblemNoServer ProblemKind = "no_server"
	// ProblemSuspect means that all servers that accept requests for the model are
	// suspect: most requests fail.
	ProblemSuspect ProblemKind = "suspect"
	// ProblemErrors means that live requests for the model fail although it has a
	// server.
	ProblemErrors ProblemKind = "live_errors"
)

// ProblemKinds lists all kinds.
var ProblemKinds = []ProblemKind{ProblemNoServer, ProblemSuspect, ProblemErrors}

const (
	// errorsFew is the number of failures within recordWindow that are tolerated: a
	// server that crashes fails that many streams.
	errorsFew = 3
	// errorsWarn is the part of failed live requests that is a problem, errorsFail the
	// part at which the model counts as failing. docs/operations.md explains the
	// values.
	errorsWarn = 0.01
	errorsFail = 0.1
	// errorsFresh is the time for which a model counts as failing after its last failure.
	errorsFresh = 30 * time.Second
)

// LiveErrors counts the live requests that ended in the last minutes, as seen by
// clients.
type LiveErrors struct {
	Seconds  int64 `json:"window_seconds"` // five minutes, or less on a young gateway
	Requests int64 `json:"requests"`
	// Failed counts requests that were answered with 5xx, aborted by their server, or
	// refused with 404 because the model's server is not available.
	Failed int64 `json:"failed"`
}

// Share returns the part that failed, 0 to 1.
func (e LiveErrors) Share() float64 {
	if e.Requests == 0 {
		return 0
	}
	return float64(e.Failed) / float64(e.Requests)
}

// ModelStatus is the status of a model, shared by /health, the doctor, the dashboard
// and the metrics.
type ModelStatus struct {
	// Model is "" for live requests for models that no server has reported.
	Model     string `json:"model"`
	Servers   int    `json:"servers"`   // that have it
	Available int    `json:"available"` // of these, that accept requests and are not suspect
	// Problem is the current problem, "" if there is none.
	Problem ProblemKind `json:"problem,omitempty"`
	// Failing reports whether the problem affects users now; otherwise it is a
	// warning.
	Failing bool      `json:"failing"`
	Since   time.Time `json:"since,omitzero"` // of the problem
	Reason  string    `json:"reason,omitempty"`
	Remedy  string    `json:"remedy,omitempty"`
	// Failed counts live requests that failed since the problem began.
	Failed int64      `json:"failed"`
	Live   LiveErrors `json:"live"`

	// Counts of live requests since the model is known.
	TotalRequests int64 `json:"-"`
	TotalFailed   int64 `json:"-"`
}

// Summary describes the problem in a sentence, "" without one.
func (m ModelStatus) Summary() string {
	name := m.Model
	if name == "" {
		name = "an unknown model"
	}
	switch m.Problem {
	case ProblemNoServer:
		return "No server takes requests for " + name
	case ProblemSuspect:
		return "Every server of " + name + " answers with server errors"
	case ProblemErrors:
		return fmt.Sprintf("%.3g %% of live requests for %s failed", 100*m.Live.Share(), name)
	}
	return ""
}

// ModelStatus returns the status of every model that servers have or had, by name.
// Models without a server are omitted unless they have failed requests.
func (p *Pool) ModelStatus() []ModelStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	all := make([]ModelStatus, 0, len(p.records)+1)
	for _, model := range slices.Sorted(maps.Keys(p.records)) {
		m := p.modelStatus(model, p.records[model], now)
		if m.Servers > 0 || m.Problem != "" {
			all = append(all, m)
		}
	}
	if m := p.modelStatus("", &p.unknownModels, now); m.TotalRequests > 0 {
		all = append(all, m)
	}
	return all
}

// Problems returns the models with a problem, the worst first.
func (p *Pool) Problems() []ModelStatus {
	all := slices.DeleteFunc(p.ModelStatus(), func(m ModelStatus) bool { return m.Problem == "" })
	slices.SortStableFunc(all, func(a, b ModelStatus) int {
		if a.Failing != b.Failing {
			if a.Failing {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Failed, a.Failed)
	})
	return all
}

// LiveErrors sums the live requests of all models.
func (p *Pool) LiveErrors() LiveErrors {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	sum := p.unknownModels.live(now)
	for _, r := range p.records {
		e := r.live(now)
		sum.Requests += e.Requests
		sum.Failed += e.Failed
	}
	return sum
}

func (r *modelRecord) live(now time.Time) LiveErrors {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.recent(now)
}

// modelStatus computes the status of one model. Pool.mu is held.
func (p *Pool) modelStatus(model string, r *modelRecord, now time.Time) ModelStatus {
	m := ModelStatus{Model: model}
	away, suspects, hung := 0, 0, true // hung: all suspect servers are hung
	var states []string
	var known []*upstream
	if at := p.now.Load().models[model]; at != nil {
		known = at.known
	}
	m.Servers = len(known)
	for _, u := range known {
		why := u.whyNot(model, now)
		if u.state == StateAway && !u.draining {
			away++
		}
		switch {
		case why == "":
			m.Available++
		case u.isUp() && !u.draining && u.serves(model, now):
			suspects++
			hung = hung && u.hung.Load()
		}
		if why != "" {
			states = append(states, u.url+" "+why)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Live = r.recent(now)
	m.TotalRequests, m.TotalFailed = r.total, r.failed
	var began streak
	switch {
	case model == "" || m.Available > 0:
		if m.Live.Failed < errorsFew || m.Live.Share() < errorsWarn {
			return m
		}
		began = r.bad
		m.Problem, m.Failing = ProblemErrors, m.Live.Share() >= errorsFail && now.Sub(r.last) <= errorsFresh
		m.Reason = fmt.Sprintf("%d of %d live requests failed in the last %s", m.Live.Failed, m.Live.Requests, time.Duration(m.Live.Seconds)*time.Second)
		m.Remedy = "Check the last errors of its servers (dashboard, Upstreams) and their logs."
		if model == "" {
			m.Remedy = "They request models that no server has reported: check servers that are loading or down, and the gateway's own resources."
		}
	case m.Servers == 0:
		if m.Live.Failed == 0 {
			return m // no client requests it
		}
		began = r.out
		m.Problem, m.Failing = ProblemNoServer, m.Live.Failed >= errorsFew
		m.Reason = "no server has the model any longer"
		m.Remedy = "Load the model on a server of the pool, or change the clients to another model."
	case away == m.Servers && m.Live.Failed < errorsFew:
		return m // its servers may be stopped, and no client requests it
	default:
		began = r.out
		m.Problem, m.Failing = ProblemNoServer, true
		m.Remedy = "Live requests for it are answered 503 and its batches wait. Start one of its servers, or end a drain."
		if suspects > 0 {
			m.Problem = ProblemSuspect
			m.Remedy = "Check their logs, api_key, and any proxy between them and the gateway. They are retried every few seconds."
			if hung {
				m.Remedy = hungRemedy
			}
		}
		m.Reason = firstStates(states)
	}
	m.Since, m.Failed = began.since, r.failed-began.before
	return m
}

// reasonServers limits the number of servers that a reason lists.
const reasonServers = 3

func firstStates(states []string) string {
	if more := len(states) - reasonServers; more > 0 {
		return strings.Join(states[:reasonServers], "; ") + fmt.Sprintf("; and %d more", more)
	}
	return strings.Join(states, "; ")
}

// whyNot returns why a server that has the model accepts no requests for it, "" if it
// does. Pool.mu is held.
func (u *upstream) whyNot(model string, now time.Time) string {
	since := func(t time.Time) string { return " since " + t.UTC().Format(time.DateTime) + " UTC" }
	because := func(text string) string {
		if u.reason != "" {
			text += ": " + u.reason
		}
		return text
	}
	switch {
	case u.draining:
		text := "is drained" + since(u.drainedAt)
		if u.drainedBy != "" {
			text += " by " + u.drainedBy
		}
		if !u.isUp() {
			text += because(" and " + string(u.state))
		}
		return text
	case !u.isUp():
		return because("is " + string(u.state) + since(u.since))
	case !u.serves(model, now):
		return "answers that it does not have the model, which it lists"
	case u.state == StateSuspect:
		return because("is suspect" + since(u.since))
	}
	return ""
}
