package dashboardtest

import (
	"context"
	"math"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

type overview struct{ *Fake }

func (o overview) Now(context.Context) (dashboard.Now, error) {
	unlock, err := o.begin()
	if err != nil {
		return dashboard.Now{}, err
	}
	defer unlock()
	o.reads++
	now := o.Clock()
	wave := 1 + .05*math.Sin(float64(now.Unix())/7)
	size := float64(o.size)
	n := dashboard.Now{
		At: now, Window: 10 * time.Second, Upstreams: o.upstreams,
		Live:   templates.Rate{Requests: size * 14.2 * wave, Failures: size * .11, InputTokens: size * 11_840 * wave, OutputTokens: size * 2_930 * wave},
		Batch:  templates.Rate{Requests: size * 35.1 / wave, Failures: size * .04, InputTokens: size * 28_400 / wave, OutputTokens: size * 5_120 / wave},
		Queue:  templates.Queue{InFlight: 249 * o.size, Limit: 512 * o.size},
		Prices: prices(),
	}
	if o.size > 0 {
		n.Queue.Oldest = 96 * time.Minute
	}
	for _, b := range o.batches {
		if !b.Status.Terminal() {
			n.Active = append(n.Active, b.Batch)
			n.Queue.Waiting += max(0, b.Counts.Total-b.Counts.Completed-b.Counts.Failed-b.InFlight)
		}
	}
	n.Queue.Active = len(n.Active)
	if o.size > 0 {
		n.Gateways = []engine.Gateway{
			{ID: "1f0e7c44a9d2", Host: "front-1", Role: batch.RoleServe, Self: true, Since: now.Add(-3 * time.Hour), Live: 14},
			{ID: "5b3a90d1e6f7", Host: o.Say("worker-1"), Role: batch.RoleWork, Since: now.Add(-26 * time.Hour), Batch: 249},
			{ID: "c8d24e61b305", Host: "old", Role: batch.RoleAll, Since: now.Add(-50 * time.Hour), Live: 2, Batch: 12},
			{ID: "9e17b2d0f4a8", Host: "front-1", Role: batch.RoleServe, Since: now.Add(-2 * time.Hour), Live: 3},
		}
	}
	if o.problems {
		n.Problems = o.trouble(now)
		n.Waiting = []upstreams.QueueStatus{
			{Model: o.Say("qwen2.5-72b-instruct"), Class: "live", Waiting: 12, Oldest: 3.4},
			{Model: o.Say("qwen2.5-72b-instruct"), Class: "flex", Waiting: 1, Oldest: 41},
		}
	}
	return n, nil
}

// trouble returns the problems. mu is held.
func (o overview) trouble(now time.Time) []dashboard.Problem {
	return []dashboard.Problem{
		{
			Severity: dashboard.Failing, What: o.upstreams[2].URL + " is down", Since: now.Add(-11 * time.Minute), Detail: o.upstreams[2].Reason,
			Remedy:  "Is vLLM running there? Requests for its models go to the other servers that have them.",
			Subject: dashboard.UpstreamSubject, SubjectID: o.upstreams[2].URL,
		},
		{
			Severity: dashboard.Warning, What: o.Say("eval-harness-mmlu.jsonl") + " will miss its deadline", Since: now.Add(-3 * time.Hour),
			Detail:  "10,520 lines are left; at 0.61 lines per second they take 4 h 47 min, and 59 min are left.",
			Remedy:  "Raise its priority, or pause others.",
			Subject: dashboard.BatchSubject, SubjectID: o.batches[4].ID,
		},
		{
			Severity: dashboard.Warning, What: "Redis does not answer", Since: now.Add(-90 * time.Second), Detail: o.Say("dial tcp 10.2.0.5:6379: i/o timeout"),
			Remedy:  "Nothing is lost: slices are taken from the store. Bring Redis back, and batches start faster again.",
			Subject: dashboard.DoctorSubject,
		},
		{
			Severity: dashboard.Warning, What: "The disk for files is filling: 6.1 GiB of 200 GiB are free", Since: now.Add(-6 * time.Hour),
			Remedy:  "Delete files that are not needed, or shorten output_ttl.",
			Subject: dashboard.FilesSubject,
		},
	}
}

type throughput struct{ *Fake }

func (t throughput) Series(_ context.Context, q dashboard.SeriesQuery) (dashboard.Series, error) {
	unlock, err := t.begin()
	if err != nil {
		return dashboard.Series{}, err
	}
	defer unlock()
	now := t.Clock()
	var s dashboard.Series
	if t.size == 0 {
		return s, nil
	}
	shares := []struct {
		model string
		share float64
	}{{llama, .58}, {qwen, .31}, {bge, .11}}
	part := 1.0
	if q.Model != "" {
		part = .05
		for _, m := range shares {
			if t.Say(m.model) == q.Model {
				part = m.share
			}
		}
	}
	steps := float64(q.Step/(15*time.Minute)) * float64(t.size)
	var all templates.Work
	for at := q.From; at.Before(q.To); at = at.Add(q.Step) {
		hour := float64(at.Hour()) + float64(at.Minute())/60
		tide := .5 - .5*math.Cos((hour-4)/24*2*math.Pi) // live is low at 4
		jitter := .9 + .2*math.Abs(math.Sin(float64(at.Unix()/900)*1.7))
		weight := part * jitter * steps
		if at.Add(q.Step).After(now) {
			weight *= now.Sub(at).Seconds() / q.Step.Seconds()
		}
		b := dashboard.Bucket{Start: at, Live: requests((1_500 + 14_000*tide) * weight), Batch: requests((32_000 - 21_000*tide) * weight)}
		if at.Hour()%6 != 5 {
			b.Uploads, b.Batches = int64(3*steps*jitter), int64(2*steps*jitter)
			b.UploadBytes = b.Uploads * 31 << 20
		}
		if q.Step == 15*time.Minute && at.Equal(q.From.Add(7*time.Hour)) {
			continue // nothing was done
		}
		b.Batch.Failures = b.Batch.Requests / 900
		all.Requests += b.Live.Requests
		all.InputTokens += b.Batch.Requests
		s.Buckets = append(s.Buckets, b)
	}
	for _, m := range shares {
		s.Models = append(s.Models, dashboard.ModelWork{
			Model: t.Say(m.model), Live: requests(float64(all.Requests) / part * m.share), Batch: requests(float64(all.InputTokens) / part * m.share),
		})
	}
	return s, nil
}

func requests(n float64) templates.Work {
	r := int64(n)
	return templates.Work{Requests: r, Failures: r / 1_400, InputTokens: r * 812, OutputTokens: r * 205, CachedTokens: r * 290}
}
