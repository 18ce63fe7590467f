package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/upstreams"
)

// servers checks every upstream, and the consistency of those with the same model.
func (d *Doctor) servers(ctx context.Context) []Check {
	all := d.Pool.Status()
	facts := d.Pool.Facts()
	if len(all) == 0 {
		return unconfigured
	}
	looks := make([]func() []Check, len(all))
	for i, u := range all {
		looks[i] = func() []Check { return d.server(ctx, u, facts[u.URL]) }
	}
	var checks []Check
	for _, of := range each(looks...) {
		checks = append(checks, of...)
	}
	checks = append(append(checks, d.problems()...), agreement(all)...)
	return append(checks, d.prices()...)
}

var unconfigured = []Check{{
	Area: Upstreams, Name: "configuration", Verdict: Failed, Found: "no server is configured", Topic: ServerTopic,
	Remedy: "Name your servers in the pool block of the Caddyfile.",
}}

// states reports the states of all servers and problems of their models.
func (d *Doctor) states() []Check {
	all := d.Pool.Status()
	if len(all) == 0 {
		return unconfigured
	}
	checks := make([]Check, 0, len(all))
	for _, u := range all {
		checks = append(checks, state(u))
	}
	return append(checks, d.problems()...)
}

// problems reports the pool's problems with models.
func (d *Doctor) problems() []Check {
	problems := d.Pool.Problems()
	checks := make([]Check, 0, len(problems))
	for _, m := range problems {
		c := Check{Area: Upstreams, Name: m.Model + ": live requests", Verdict: Doubted, Remedy: m.Remedy, Topic: ModelTopic, Model: m.Model}
		if m.Model == "" {
			c.Name = "live requests"
		}
		if m.Failing {
			c.Verdict = Failed
		}
		c.Found = fmt.Sprintf("%s: %s", m.Summary(), m.Reason)
		if m.Failed > 0 {
			c.Found += fmt.Sprintf("; %d live requests failed since %s UTC", m.Failed, m.Since.UTC().Format(time.DateTime))
		}
		checks = append(checks, c)
	}
	return checks
}

// answers reports whether a server can be checked.
func answers(u upstreams.UpstreamStatus) bool {
	return u.State.TakesRequests() || u.State == upstreams.StateDraining
}

// server checks one upstream.
func (d *Doctor) server(ctx context.Context, u upstreams.UpstreamStatus, f upstreams.Facts) []Check {
	name := func(what string) string { return u.URL + ": " + what }
	how := state(u)
	if !answers(u) {
		return []Check{how}
	}
	if u.Version == "" {
		how.Found += "; it does not report its version"
	}
	return []Check{how, caching(name("prefix caching"), f), d.scheduling(ctx, name("priority scheduling"), u, f), concurrency(name("max_num_seqs"), u, f)}
}

// state reports the state of a server.
func state(u upstreams.UpstreamStatus) Check {
	state := Check{Area: Upstreams, Name: u.URL + ": state", Verdict: Passed, Found: string(u.State), Topic: ServerTopic}
	if u.State == upstreams.StateDraining && !u.DrainedAt.IsZero() {
		state.Found += " since " + u.DrainedAt.UTC().Format(time.DateTime) + " UTC"
		if u.DrainedBy != "" {
			state.Found += ", by " + u.DrainedBy
		}
	}
	if u.Version != "" {
		state.Found += ", vLLM " + u.Version
	}
	if u.Reason != "" {
		state.Found += ": " + u.Reason
	}
	switch u.State {
	case upstreams.StateDown:
		state.Verdict, state.Remedy = Failed, "Check the server's log and restart it; it gets requests as soon as it answers /health."
	case upstreams.StateLoading:
		state.Verdict, state.Remedy = Doubted, "Loading a model takes minutes. If it does not finish, check the server's log."
	case upstreams.StateBusy:
		state.Verdict, state.Remedy = Doubted, "It makes progress with requests but answers its health checks late: lower max_num_seqs or batch_share."
	case upstreams.StateSuspect:
		state.Verdict, state.Remedy = Failed, "It answers with server errors: check its log, api_key, and any proxy between it and the gateway. It is retried every few seconds."
	case upstreams.StateUp, upstreams.StateDraining, upstreams.StateAway:
	}
	if u.Remedy != "" {
		state.Remedy = u.Remedy
		if u.State == upstreams.StateLoading {
			state.Verdict = Failed // waiting does not help
		}
	}
	return state
}

func caching(name string, f upstreams.Facts) Check {
	c := Check{Area: Upstreams, Name: name, Verdict: Passed, Found: "on"}
	switch f.PrefixCaching {
	case "True":
		if f.Blocks > 0 && f.BlockSize > 0 {
			c.Found = fmt.Sprintf("on; the KV cache has room for %d tokens", f.Blocks*f.BlockSize)
		}
	case "False":
		c.Verdict, c.Found = Doubted, "off"
		c.Remedy = "Lines of a batch often begin alike: start the server with --enable-prefix-caching."
	default:
		c.Verdict, c.Found = Unknown, "the server does not report it (vllm:cache_config_info in /metrics)"
	}
	return c
}

// concurrency compares the gateway's concurrency limit of a server with the server's
// own.
func concurrency(name string, u upstreams.UpstreamStatus, f upstreams.Facts) Check {
	c := Check{Area: Upstreams, Name: name, Verdict: Passed, Found: fmt.Sprintf("%d", u.MaxNumSeqs)}
	ours := u.LiveInFlight + u.BatchInFlight + u.OthersInFlight
	switch {
	case f.MaxNumSeqs > 0 && f.MaxNumSeqs < int64(u.MaxNumSeqs):
		c.Verdict, c.Found = Doubted, fmt.Sprintf("%d here, %d at the server", u.MaxNumSeqs, f.MaxNumSeqs)
		c.Remedy = fmt.Sprintf("Requests wait at the server where live ones cannot pass those of batches: set max_num_seqs %d for this upstream.", f.MaxNumSeqs)
	case f.MaxNumSeqs > int64(u.MaxNumSeqs):
		c.Verdict, c.Found = Doubted, fmt.Sprintf("%d here, %d at the server", u.MaxNumSeqs, f.MaxNumSeqs)
		c.Remedy = fmt.Sprintf("The server could do more: set max_num_seqs %d for this upstream.", f.MaxNumSeqs)
	case f.MaxNumSeqs > 0:
		c.Found = fmt.Sprintf("%d, as at the server", u.MaxNumSeqs)
	case u.MaxNumSeqsAssumed:
		c.Found = fmt.Sprintf("%d requests concurrently, as measured so far: %s", u.Limit, u.LimitReason.Text())
		if u.Placement != "" && u.Placement != upstreams.ForBoth {
			c.Found += "; now it is for " + u.Placement.Text()
		}
	case u.HasMetrics && u.Waiting > 0 && ours <= u.MaxNumSeqs:
		c.Verdict, c.Found = Doubted, fmt.Sprintf("%d, yet %.0f requests wait at the server while it runs %.0f", u.MaxNumSeqs, u.Waiting, u.Running)
		c.Remedy = "Set max_num_seqs of this upstream to the number of requests that the server runs concurrently: its --max-num-seqs, or fewer where the KV cache is full before."
	default:
		c.Found += ", as configured; the server does not report its own"
	}
	return c
}

// scheduled is the cached result of a scheduling check.
type scheduled struct {
	at    time.Time
	since time.Time // of the server's state: after a change it may be another process
	on    bool
}

// scheduledAge is the time for which a result is cached, because a check costs a token.
const scheduledAge = time.Hour

// scheduling checks whether a server schedules by priority. The gateway does not need
// it; clients that send a priority do.
func (d *Doctor) scheduling(ctx context.Context, name string, u upstreams.UpstreamStatus, f upstreams.Facts) Check {
	c := Check{Area: Upstreams, Name: name, Verdict: Passed}
	on, why, tried := f.Scheduling == "priority", "", f.Scheduling == ""
	if tried {
		on, why = d.tryPriority(ctx, u)
	}
	switch {
	case why != "":
		c.Verdict, c.Found = Unknown, why
	case on && tried:
		// vLLM's V1 engine accepts a priority with every scheduling policy
		// (https://github.com/vllm-project/vllm/issues/22997).
		c.Verdict, c.Found = Unknown, "requests with a priority are accepted, which newer versions do without --scheduling-policy priority as well"
	case on:
		c.Found = "on"
	default:
		c.Found = "off: requests with a priority are refused"
		c.Remedy = "Only if clients send one: start the server with --scheduling-policy priority. The gateway keeps live requests first without it."
	}
	return c
}

// tryPriority asks the server, if it is idle and there is no cached result. why
// explains an unknown result.
func (d *Doctor) tryPriority(ctx context.Context, u upstreams.UpstreamStatus) (on bool, why string) {
	now := d.Now()
	d.asking.Lock()
	known, ok := d.priorities[u.URL]
	d.asking.Unlock()
	if ok && known.since.Equal(u.Since) && now.Sub(known.at) < scheduledAge {
		return known.on, ""
	}
	if u.Version == "" {
		return false, "the server is not known to be vLLM"
	}
	if u.LiveInFlight+u.BatchInFlight+u.OthersInFlight > 0 || u.Running+u.Waiting > 0 {
		return false, "not checked while the server is busy, because the check sends a request of one token"
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	on, err := d.Pool.TryPriority(ctx, u.URL)
	if err != nil {
		return false, errText(err)
	}
	d.asking.Lock()
	defer d.asking.Unlock()
	d.priorities[u.URL] = scheduled{at: now, since: u.Since, on: on}
	return on, ""
}

// agreement checks the consistency of servers with the same model.
func agreement(all []upstreams.UpstreamStatus) []Check {
	lengths, versions, counts := make(map[string]map[string]bool), make(map[string]map[string]bool), make(map[string]int)
	note := func(to map[string]map[string]bool, model, value string) {
		if to[model] == nil {
			to[model] = make(map[string]bool)
		}
		to[model][value] = true
	}
	for _, u := range all {
		if !answers(u) {
			continue
		}
		for i, model := range u.Models {
			counts[model]++
			if i == 0 && u.MaxModelLen > 0 { // the first one's value is reported
				note(lengths, model, fmt.Sprint(u.MaxModelLen))
			}
			if u.Version != "" {
				note(versions, model, u.Version)
			}
		}
	}
	var checks []Check
	for _, model := range slices.Sorted(maps.Keys(counts)) {
		if counts[model] == 1 && len(all) > 1 {
			checks = append(checks, Check{
				Area: Upstreams, Name: model + ": servers", Verdict: Doubted, Found: "one server has it", Model: model,
				Remedy: "If it goes down, its requests are refused. Load the model on another server, too.",
			})
		}
		for _, same := range []struct {
			what   string
			values map[string]bool
			remedy string
		}{
			{"context length", lengths[model], "A request that fits one server is refused by another: start all servers with the same --max-model-len."},
			{"version", versions[model], "The same request may be answered differently: bring all servers of the model to one version."},
		} {
			values := slices.Sorted(maps.Keys(same.values))
			if len(values) == 0 {
				continue
			}
			c := Check{Area: Upstreams, Name: model + ": " + same.what, Verdict: Passed, Found: strings.Join(values, ", "), Model: model}
			if len(values) > 1 {
				c.Verdict, c.Found, c.Remedy = Doubted, "differs: "+c.Found, same.remedy
			}
			checks = append(checks, c)
		}
	}
	return checks
}
