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

// servers looks at every upstream, and at what those of one model have in
// common.
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

// states looks at the states of all servers and at problems of their models.
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

// problems says what the pool finds wrong with models.
func (d *Doctor) problems() []Check {
	problems := d.Pool.Problems()
	checks := make([]Check, 0, len(problems))
	for _, m := range problems {
		c := Check{Area: Upstreams, Name: m.Model + ": live requests", Verdict: Doubted, Remedy: m.Remedy, Topic: ModelTopic}
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

// answers tells whether a server is there to be looked at.
func answers(u upstreams.UpstreamStatus) bool {
	return u.State.TakesRequests() || u.State == upstreams.StateDraining
}

// server looks at one upstream.
func (d *Doctor) server(ctx context.Context, u upstreams.UpstreamStatus, f upstreams.Facts) []Check {
	name := func(what string) string { return u.URL + ": " + what }
	how := state(u)
	if !answers(u) {
		return []Check{how}
	}
	if u.Version == "" {
		how.Found += "; it does not tell its version"
	}
	return []Check{how, caching(name("prefix caching"), f), d.scheduling(ctx, name("priority scheduling"), u, f), concurrency(name("max_num_seqs"), u, f)}
}

// state looks at the state of a server.
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
		state.Verdict, state.Remedy = Failed, "Look at the server's log and start it again; it gets requests as soon as it answers /health."
	case upstreams.StateLoading:
		state.Verdict, state.Remedy = Doubted, "Loading a model takes minutes. If it stays so, look at the server's log."
	case upstreams.StateBusy:
		state.Verdict, state.Remedy = Doubted, "It gets on with requests but answers its health checks late: lower max_num_seqs or batch_share."
	case upstreams.StateSuspect:
		state.Verdict, state.Remedy = Failed, "Its answers are its own fault: look at its log, at api_key and at what stands between it and the gateway. It is tried again every few seconds."
	case upstreams.StateUp, upstreams.StateDraining:
	}
	if u.Remedy != "" {
		state.Remedy = u.Remedy
		if u.State == upstreams.StateLoading {
			state.Verdict = Failed // it does not come up by waiting
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
		c.Verdict, c.Found = Unknown, "the server does not tell (vllm:cache_config_info in /metrics)"
	}
	return c
}

// concurrency compares what the gateway thinks that a server runs at once with
// what it does.
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
		c.Found = fmt.Sprintf("%d requests at once, as found so far: %s", u.Limit, u.LimitReason.Text())
		if u.Placement != "" && u.Placement != upstreams.ForBoth {
			c.Found += "; now it is for " + u.Placement.Text()
		}
	case u.HasMetrics && u.Waiting > 0 && ours <= u.MaxNumSeqs:
		c.Verdict, c.Found = Doubted, fmt.Sprintf("%d, yet %.0f requests wait at the server while it runs %.0f", u.MaxNumSeqs, u.Waiting, u.Running)
		c.Remedy = "Set max_num_seqs of this upstream to what the server runs at once: its --max-num-seqs, or fewer where the KV cache is full before."
	default:
		c.Found += ", as configured; the server does not tell its own"
	}
	return c
}

// scheduled is what was found out about a server's scheduling.
type scheduled struct {
	at    time.Time
	since time.Time // of the server's state: a new one may be another
	on    bool
}

// scheduledAge is how long that is believed: finding it out costs a token.
const scheduledAge = time.Hour

// scheduling finds out whether a server schedules by priority. The gateway does
// not need it; clients that send a priority do.
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
		// vLLM's V1 engine takes a priority whatever its scheduling
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

// tryPriority asks the server, if it is idle and that was not done lately. why
// says that it is not known.
func (d *Doctor) tryPriority(ctx context.Context, u upstreams.UpstreamStatus) (on bool, why string) {
	now := d.Now()
	d.asking.Lock()
	known, ok := d.priorities[u.URL]
	d.asking.Unlock()
	if ok && known.since.Equal(u.Since) && now.Sub(known.at) < scheduledAge {
		return known.on, ""
	}
	if u.Version == "" {
		return false, "the server does not tell that it is vLLM"
	}
	if u.LiveInFlight+u.BatchInFlight+u.OthersInFlight > 0 || u.Running+u.Waiting > 0 {
		return false, "not asked while the server is at work: it takes a request of one token"
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

// agreement looks at what servers of one model should have in common.
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
			if i == 0 && u.MaxModelLen > 0 { // the first one's is told
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
				Area: Upstreams, Name: model + ": servers", Verdict: Doubted, Found: "one server has it",
				Remedy: "When that goes down, its requests are refused: load the model on another, too.",
			})
		}
		for _, same := range []struct {
			what   string
			values map[string]bool
			remedy string
		}{
			{"context length", lengths[model], "A request that fits one server is refused by another: start all with the same --max-model-len."},
			{"version", versions[model], "The same request may be answered differently: bring all servers of the model to one version."},
		} {
			values := slices.Sorted(maps.Keys(same.values))
			if len(values) == 0 {
				continue
			}
			c := Check{Area: Upstreams, Name: model + ": " + same.what, Verdict: Passed, Found: strings.Join(values, ", ")}
			if len(values) > 1 {
				c.Verdict, c.Found, c.Remedy = Doubted, "differs: "+c.Found, same.remedy
			}
			checks = append(checks, c)
		}
	}
	return checks
}
