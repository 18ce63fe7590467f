package dashboardtest

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/upstreams"
)

type pool struct{ *Fake }

func (p pool) Upstream(_ context.Context, url string) (dashboard.UpstreamDetail, error) {
	unlock, err := p.begin()
	if err != nil {
		return dashboard.UpstreamDetail{}, err
	}
	defer unlock()
	for i, u := range p.upstreams {
		if u.URL == url {
			return p.detail(u, i), nil
		}
	}
	return dashboard.UpstreamDetail{}, batch.ErrNotFound
}

func (p pool) detail(u dashboard.Upstream, index int) dashboard.UpstreamDetail {
	d := dashboard.UpstreamDetail{Upstream: u, Telemetry: upstreams.Telemetry{Recent: u.Recent, Step: time.Minute}}
	now := p.Clock().Truncate(time.Minute)
	if index >= 2 {
		d.OnlyOneFor = u.Models
	}
	if u.State != upstreams.StateLoading {
		for i := range 60 {
			x := float64(i) / 8
			wave := 1 + .25*math.Sin(x) + .1*math.Sin(x*3.7)
			point := upstreams.TelemetryPoint{At: now.Add(time.Duration(i-59) * time.Minute), Missed: i == 22 || u.State == upstreams.StateDown && i > 48}
			if !point.Missed {
				point.Live, point.Batch = 31*wave, 118*(2-wave)
				point.Waiting = math.Max(0, 9*(wave-1.2)*10)
				point.KVCacheUsage = math.Min(1, .6*wave)
				point.Requests = int64(410 * wave)
				point.Failures = int64(math.Max(0, 40*(wave-1.25)))
				point.TTFT = upstreams.Latency{N: 100, P50: time.Duration(180*wave) * time.Millisecond, P95: time.Duration(620*wave) * time.Millisecond}
				point.ITL = upstreams.Latency{N: 9000, P50: time.Duration(30*wave) * time.Millisecond, P95: time.Duration(61*wave) * time.Millisecond}
			}
			d.Telemetry.History = append(d.Telemetry.History, point)
		}
	}
	for i := range 6 {
		e := upstreams.Failure{
			At: now.Add(-time.Duration(i*i*3) * time.Minute), Class: []upstreams.Class{upstreams.Live, upstreams.Batch}[i%2], Endpoint: "/v1/chat/completions",
			Model: p.Say(llama), Status: 500 * (i % 2), Message: p.Say("connection reset by peer while reading the answer, after " + strconv.Itoa(i*7) + " events"),
		}
		if u.State != upstreams.StateLoading {
			d.Telemetry.Failures = append(d.Telemetry.Failures, e)
		}
	}
	return d
}

// Minutes has a minute that was missed, and one without live streams.
func (p pool) Minutes(context.Context) ([]upstreams.PoolMinute, error) {
	unlock, err := p.begin()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if len(p.upstreams) == 0 {
		return nil, nil
	}
	all := make([]upstreams.PoolMinute, 59)
	end := p.Clock().Truncate(time.Minute)
	for i := range all {
		m := &all[i]
		m.At = end.Add(time.Duration(i-len(all)+1) * time.Minute)
		wave := 1 + .3*math.Sin(float64(i)/6)
		if m.Missed = i == 22; m.Missed {
			continue
		}
		m.Live, m.Batch = 93*wave, 250*(2-wave)
		failed := int64(math.Max(0, 60*(wave-1.25)))
		m.Requests = [2]int64{upstreams.Live: int64(300*wave) + failed, upstreams.Batch: int64(600 * wave)}
		m.Failures[upstreams.Live] = failed
		if i != 40 {
			m.TTFT = upstreams.Latency{N: 300, P50: time.Duration(180*wave) * time.Millisecond, P95: time.Duration(620*wave) * time.Millisecond}
		}
	}
	return all, nil
}

func (p pool) SetDraining(_ context.Context, url string, draining bool) error {
	action := "undrain"
	if draining {
		action = "drain"
	}
	unlock, err := p.begin(action, url)
	if err != nil {
		return err
	}
	defer unlock()
	for i := range p.upstreams {
		u := &p.upstreams[i]
		if u.URL != url {
			continue
		}
		u.Draining = draining
		switch {
		case draining && u.State == upstreams.StateUp:
			u.State = upstreams.StateDraining
		case !draining && u.State == upstreams.StateDraining:
			u.State = upstreams.StateUp
		}
		return nil
	}
	return batch.ErrNotFound
}

type checks struct{ *Fake }

func (d checks) Checks(context.Context) (doctor.Report, error) {
	unlock, err := d.begin()
	if err != nil {
		return doctor.Report{}, err
	}
	defer unlock()
	r := doctor.Report{At: d.Clock()}
	add := func(area, name string, v doctor.Verdict, found, remedy string) {
		r.Checks = append(r.Checks, doctor.Check{Area: area, Name: name, Verdict: v, Found: found, Remedy: remedy})
	}
	add("Store", "PostgreSQL answers", doctor.Passed, "in 1.4 ms; version 17.2, schema 3", "")
	add("Store", "Clock against the database", doctor.Passed, "4 ms behind", "")
	add("Queue", "Redis answers", doctor.Failed, d.Say("dial tcp 10.2.0.5:6379: i/o timeout"), "Bring Redis back. Until then slices are taken from the store, which costs it more queries and nothing else.")
	add("Files", "A file can be written and read", doctor.Passed, "/srv/tidegate/files, 3.1 ms", "")
	add("Files", "Disk space", doctor.Doubted, "6.1 GiB of 200 GiB are free; at the last day's pace it is full in 9 hours", "Delete files on the page Files, or shorten output_ttl.")
	for i, u := range d.upstreams {
		switch {
		case u.State == upstreams.StateDown:
			add("Upstreams", u.URL+" answers", doctor.Failed, u.Reason, "Start vLLM there, or take the server out of the configuration.")
		case u.State == upstreams.StateLoading:
			add("Upstreams", u.URL+" answers", doctor.Unknown, "it is loading its model", "")
		case i == 0:
			add("Upstreams", u.URL+" priority scheduling", doctor.Doubted, "off: --scheduling-policy is fcfs", "Start vLLM with --scheduling-policy priority, so that live requests go before batch lines on the server as well.")
		default:
			add("Upstreams", u.URL+" answers", doctor.Passed, "vLLM "+u.Version+", context 40,960, prefix caching on, max_num_seqs "+strconv.Itoa(u.MaxNumSeqs), "")
		}
	}
	add("Gateway", "File descriptors", doctor.Passed, "412 of 1,048,576 are open", "")
	add("Gateway", "In flight against max_num_seqs", doctor.Passed, "512 batch lines at most; the servers take 1,152", "")
	return r, nil
}
