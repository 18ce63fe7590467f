package source

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/upstreams"
)

// problems returns the current problems, the worst first. late are batches that will
// miss their deadlines, present the doctor's findings.
func (o *overview) problems(now *dashboard.Now, late []engine.AtRisk, health engine.Health, present []doctor.Check) []dashboard.Problem {
	all := modelProblems(o.Pool.Problems())
	all = append(all, serverProblems(now.Upstreams)...)
	all = append(all, partProblems(health)...)
	all = append(all, spaceProblems(o.Engine.Space())...)
	all = append(all, memoryProblems(o.Engine.Capacity().Memory)...)
	all = append(all, checkProblems(present)...)
	all = append(all, batchProblems(now.Active, late, now.Upstreams)...)
	slices.SortStableFunc(all, func(a, b dashboard.Problem) int { return severity(a) - severity(b) })
	return all
}

func severity(p dashboard.Problem) int {
	if p.Severity == dashboard.Failing {
		return 0
	}
	return 1
}

// modelProblems returns the problems of the pool's models.
func modelProblems(models []upstreams.ModelStatus) (all []dashboard.Problem) {
	for _, m := range models {
		p := dashboard.Problem{
			Severity: dashboard.Warning, What: m.Summary(), Since: m.Since, Detail: m.Reason, Remedy: m.Remedy, Subject: dashboard.DoctorSubject, Model: m.Model,
		}
		if m.Failing {
			p.Severity = dashboard.Failing
		}
		if m.Failed > 0 {
			p.Detail += fmt.Sprintf("; %d live requests failed since", m.Failed)
		}
		all = append(all, p)
	}
	return all
}

// checkProblems returns the doctor's findings that other problems do not cover.
func checkProblems(present []doctor.Check) (all []dashboard.Problem) {
	for _, c := range present {
		if c.Topic != "" {
			continue
		}
		p := dashboard.Problem{
			Severity: dashboard.Warning, What: strings.ToUpper(c.Name[:1]) + c.Name[1:], Detail: c.Found, Remedy: c.Remedy, Subject: dashboard.DoctorSubject, Model: c.Model,
		}
		if c.Verdict == doctor.Failed {
			p.Severity = dashboard.Failing
		}
		all = append(all, p)
	}
	return all
}

// kvFull is the usage at which a server's cache counts as full.
const kvFull = 0.97

func serverProblems(servers []dashboard.Upstream) (all []dashboard.Problem) {
	if len(servers) == 0 {
		return []dashboard.Problem{{
			Severity: dashboard.Failing, What: "No upstream is configured", Remedy: "Name your vLLM servers in the pool block of the Caddyfile.",
		}}
	}
	up := 0
	var last time.Time // when the last one stopped taking requests
	for _, u := range servers {
		if u.Since.After(last) {
			last = u.Since
		}
		if u.State.TakesRequests() || u.State == upstreams.StateAway {
			up++
		}
	}
	if up == 0 {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Failing, What: "No upstream takes requests", Since: last, Remedy: "Live requests are refused with 503 and batches wait until one does. Start a server, or end a drain.",
		})
	}
	for _, u := range servers {
		p := dashboard.Problem{Severity: dashboard.Warning, Since: u.Since, Detail: u.Reason, Subject: dashboard.UpstreamSubject, SubjectID: u.URL}
		switch {
		case u.State == upstreams.StateDown:
			p.What = u.URL + " is down"
			p.Remedy = "Check its log and restart it; it gets requests as soon as it answers /health."
		case u.State == upstreams.StateLoading:
			p.What = u.URL + " is not ready yet"
			p.Remedy = "Loading a model takes minutes. If it does not finish, check its log."
		case u.State == upstreams.StateBusy:
			p.What = u.URL + " does not answer its health checks in time"
			p.Remedy = "It still gets requests. If this persists, it is overloaded: lower max_num_seqs or batch_share."
		case u.State == upstreams.StateSuspect:
			p.What = u.URL + " answers requests with server errors"
			p.Remedy = "It gets requests that no other server can serve, and a trial every few seconds. Check its log, api_key, and any proxy between it and the gateway."
		case u.HasMetrics && u.KVCacheUsage >= kvFull && u.Waiting > 0:
			p.What, p.Since = "The KV cache of "+u.URL+" is full", time.Time{}
			p.Detail = fmt.Sprintf("%.0f %% in use, %.0f requests wait", 100*u.KVCacheUsage, u.Waiting)
			p.Remedy = "Lower max_num_seqs of this server so that its running requests fit into its cache, or give it more memory (--gpu-memory-utilization)."
		default:
			continue
		}
		all = append(all, p)
	}
	return all
}

func partProblems(h engine.Health) (all []dashboard.Problem) {
	for _, part := range []struct {
		says, what, remedy string
		severity           dashboard.Severity
	}{
		{h.Store, "The store is not available", "Live requests are served. Files and batches answer 503; finished lines are kept and committed when it is back. Start the database.", dashboard.Failing},
		{h.Queue, "The queue is not available", "Batches continue with the store, a little slower. Start Redis.", dashboard.Warning},
		{h.Files, "Files cannot be stored", "Uploads are refused and batches cannot end. Check the disk, or the object store.", dashboard.Failing},
	} {
		if part.says != engine.StatusOK {
			all = append(all, dashboard.Problem{Severity: part.severity, What: part.what, Detail: part.says, Remedy: part.remedy, Subject: dashboard.DoctorSubject})
		}
	}
	if len(all) > 0 {
		return all // they are the cause of paused batch work
	}
	for _, b := range h.Stopped {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Warning, What: "Batch " + b.ID + " was paused because its lines fail", Detail: b.Reason,
			Remedy: "Correct the cause and resume it, or cancel it.", Subject: dashboard.BatchSubject, SubjectID: b.ID,
		})
	}
	for _, p := range h.Housekeeping {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Warning, What: "Housekeeping failed", Since: p.Since, Detail: p.Text, Remedy: "Batch work continues. The next round tries again; if it keeps failing, check the log.", Subject: dashboard.DoctorSubject,
		})
	}
	for _, p := range h.Paused {
		all = append(all, dashboard.Problem{
			Severity: dashboard.Warning, What: "Batch work is paused", Since: p.Since, Detail: p.Text, Remedy: "It continues by itself when the cause is resolved; the doctor checks every part.", Subject: dashboard.DoctorSubject, Model: p.Model,
		})
	}
	return all
}

func memoryProblems(m batch.Memory) []dashboard.Problem {
	if m.Wanted == 0 {
		return nil
	}
	return []dashboard.Problem{{
		Severity: dashboard.Warning, What: "Batch slots idle: request memory limit reached",
		Detail: m.Shortage(), Remedy: m.Remedy(), Subject: dashboard.DoctorSubject,
	}}
}

func spaceProblems(s batch.Space, known bool, err error) []dashboard.Problem {
	p := dashboard.Problem{Severity: dashboard.Warning, Subject: dashboard.FilesSubject, Remedy: "Delete files and batches that are not needed, or shorten input_ttl and output_ttl."}
	switch {
	case err != nil:
		p.What, p.Detail = "The disk space for files cannot be measured", err.Error()
	case !known:
		return nil
	case s.Full():
		p.Severity, p.What = dashboard.Failing, "The disk is full"
	case s.Filling():
		p.What = "The disk is filling"
	default:
		return nil
	}
	if p.Detail == "" {
		p.Detail = s.String()
	}
	return []dashboard.Problem{p}
}
