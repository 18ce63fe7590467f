package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/doctor"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// TestProblems checks that each problem has a remedy.
func TestProblems(t *testing.T) {
	server := func(state upstreams.State, change ...func(*upstreams.UpstreamStatus)) dashboard.Upstream {
		u := upstreams.UpstreamStatus{URL: "http://gpu", State: state, Models: []string{"m"}}
		for _, f := range change {
			f(&u)
		}
		return dashboard.Upstream{UpstreamStatus: u}
	}
	up := server(upstreams.StateUp)
	well := engine.Health{Store: "ok", Queue: "ok", Files: "ok"}
	running := func(change func(*dashboard.Batch)) dashboard.Batch {
		b := dashboard.Batch{Batch: batch.Batch{ID: "batch_1", Status: batch.InProgress, Model: "m", Counts: openai.RequestCounts{Total: 10}}, InputName: "in.jsonl"}
		change(&b)
		return b
	}
	late := func(id string, why engine.RiskReason) engine.AtRisk {
		return engine.AtRisk{Batch: batch.Batch{ID: id, Model: "m", Counts: openai.RequestCounts{Total: 10}}, Why: why}
	}
	for _, c := range []struct {
		name    string
		servers []dashboard.Upstream
		health  engine.Health
		active  []dashboard.Batch
		late    []engine.AtRisk
		want    []string // severity and the beginning
	}{
		{"nothing", []dashboard.Upstream{up}, well, []dashboard.Batch{running(func(*dashboard.Batch) {})}, nil, nil},
		{"no servers", nil, well, nil, nil, []string{"failing No upstream is configured"}},
		{"all down", []dashboard.Upstream{server(upstreams.StateDown)}, well, nil, nil, []string{"failing No upstream takes", "warning http://gpu is down"}},
		{"one down", []dashboard.Upstream{up, server(upstreams.StateDown)}, well, nil, nil, []string{"warning http://gpu is down"}},
		{"stopped on purpose", []dashboard.Upstream{server(upstreams.StateAway)}, well, []dashboard.Batch{running(func(*dashboard.Batch) {})}, nil, nil},
		{"loading", []dashboard.Upstream{up, server(upstreams.StateLoading)}, well, nil, nil, []string{"warning http://gpu is not ready"}},
		{"late", []dashboard.Upstream{server(upstreams.StateBusy)}, well, nil, nil, []string{"warning http://gpu does not answer"}},
		{"suspect", []dashboard.Upstream{up, server(upstreams.StateSuspect)}, well, nil, nil, []string{"warning http://gpu answers requests with server errors"}},
		{"full", []dashboard.Upstream{server(upstreams.StateUp, func(u *upstreams.UpstreamStatus) { u.HasMetrics, u.KVCacheUsage, u.Waiting = true, 0.99, 3 })}, well, nil, nil, []string{"warning The KV cache"}},
		{"store away", []dashboard.Upstream{up}, engine.Health{Store: "refused", Queue: "ok", Files: "ok", Paused: engine.Problems{{Text: "because of it"}}}, nil, nil, []string{"failing The store"}},
		{"queue and files away", []dashboard.Upstream{up}, engine.Health{Store: "ok", Queue: "refused", Files: "full"}, nil, nil, []string{"failing Files", "warning The queue"}},
		{"stopped", []dashboard.Upstream{up}, engine.Health{Store: "ok", Queue: "ok", Files: "ok", Stopped: []engine.StoppedBatch{{ID: "batch_1", Reason: "why"}}}, nil, nil, []string{"warning Batch batch_1 was paused because"}},
		{"housekeeping", []dashboard.Upstream{up}, engine.Health{Store: "ok", Queue: "ok", Files: "ok", Housekeeping: engine.Problems{{Text: "collecting what expired: refused"}}}, nil, nil, []string{"warning Housekeeping failed"}},
		{"held up", []dashboard.Upstream{up}, engine.Health{Store: "ok", Queue: "ok", Files: "ok", Paused: engine.Problems{{Text: "model m: down"}}}, nil, nil, []string{"warning Batch work is paused"}},
		{"late batch", []dashboard.Upstream{up}, well, []dashboard.Batch{running(func(*dashboard.Batch) {})}, []engine.AtRisk{late("batch_1", engine.RiskSlow)}, []string{"warning Batch in.jsonl will miss"}},
		{"late and not shown", []dashboard.Upstream{up}, well, nil, []engine.AtRisk{late("batch_2", engine.RiskWaiting)}, []string{"warning Batch batch_2 will miss"}},
		{"paused for too long", []dashboard.Upstream{up}, well, nil, []engine.AtRisk{late("batch_2", engine.RiskPaused)}, []string{"warning Batch batch_2 is paused and will miss"}},
		{"many are late", []dashboard.Upstream{up}, well, nil, slices.Repeat([]engine.AtRisk{late("batch_2", engine.RiskStalled)}, 13), append(slices.Repeat([]string{"warning Batch batch_2 will miss"}, 10), "warning More batches will miss")},
		{"no server has its model", []dashboard.Upstream{up}, well, []dashboard.Batch{running(func(b *dashboard.Batch) { b.Model, b.InputName = "n", "" })}, []engine.AtRisk{late("batch_1", engine.RiskStalled)}, []string{"warning Batch batch_1 waits for the model n"}},
		{"paused on purpose", []dashboard.Upstream{up}, well, []dashboard.Batch{running(func(b *dashboard.Batch) { b.Model, b.PausedAt = "n", time.Unix(1, 0) })}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := &dashboard.Now{Upstreams: c.servers, Active: c.active}
			var got []dashboard.Problem
			got = append(got, serverProblems(now.Upstreams)...)
			got = append(got, partProblems(c.health)...)
			got = append(got, batchProblems(now.Active, c.late, now.Upstreams)...)
			slices.SortStableFunc(got, func(a, b dashboard.Problem) int { return severity(a) - severity(b) })
			if len(got) != len(c.want) {
				t.Fatalf("%+v, want %q", got, c.want)
			}
			for i, p := range got {
				if text := string(p.Severity) + " " + p.What; !strings.HasPrefix(text, c.want[i]) || p.Remedy == "" {
					t.Errorf("%q (%q), want %q", text, p.Remedy, c.want[i])
				}
			}
		})
	}
}

// The capacity for lines is what servers take now, and never less than what is in
// flight.
func TestSlotsInUse(t *testing.T) {
	server := func(inFlight, slots int) dashboard.Upstream {
		return dashboard.Upstream{UpstreamStatus: upstreams.UpstreamStatus{BatchInFlight: inFlight, BatchSlots: slots, BatchLimit: 192, MaxNumSeqs: 256}}
	}
	for _, c := range []struct {
		name         string
		servers      []dashboard.Upstream
		limit        int // max_in_flight
		inUse, slots int64
	}{
		{"all slots taken", []dashboard.Upstream{server(24, 24), server(24, 24), server(24, 24)}, 256, 72, 72},
		{"room", []dashboard.Upstream{server(3, 24), server(0, 20)}, 256, 3, 44},
		{"a smaller max_in_flight", []dashboard.Upstream{server(3, 24), server(0, 20)}, 16, 3, 16},
		{"more than max_in_flight, which was lowered", []dashboard.Upstream{server(20, 24)}, 16, 20, 20},
		{"nothing takes lines", []dashboard.Upstream{server(0, 0)}, 256, 0, 0},
	} {
		if inUse, slots := slotsInUse(c.servers, c.limit); inUse != c.inUse || slots != c.slots {
			t.Errorf("%s: %d of %d, want %d of %d", c.name, inUse, slots, c.inUse, c.slots)
		}
	}
}

// TestModelProblems checks that problems of models have their start and the number of refused
// requests.
func TestModelProblems(t *testing.T) {
	since := time.Unix(1_800_000_000, 0)
	got := modelProblems([]upstreams.ModelStatus{
		{Model: "m", Problem: upstreams.ProblemNoServer, Failing: true, Since: since, Reason: "http://gpu is drained", Remedy: "Undrain it.", Failed: 7},
		{Model: "n", Problem: upstreams.ProblemErrors, Since: since, Reason: "3 of 200", Remedy: "Look.", Live: upstreams.LiveErrors{Requests: 200, Failed: 3}},
	})
	want := []dashboard.Problem{
		{Severity: dashboard.Failing, What: "No server takes requests for m", Since: since, Detail: "http://gpu is drained; 7 live requests failed since", Remedy: "Undrain it.", Subject: dashboard.DoctorSubject, Model: "m"},
		{Severity: dashboard.Warning, What: "1.5 % of live requests for n failed", Since: since, Detail: "3 of 200", Remedy: "Look.", Subject: dashboard.DoctorSubject, Model: "n"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// TestCheckProblems checks that a failed check of the doctor is a problem, unless another
// problem covers it.
func TestCheckProblems(t *testing.T) {
	check := func(v doctor.Verdict, topic doctor.Topic) doctor.Check {
		return doctor.Check{Area: doctor.Gateway, Name: "file descriptors", Verdict: v, Found: "used up", Remedy: "ulimit", Topic: topic}
	}
	got := checkProblems([]doctor.Check{check(doctor.Failed, ""), check(doctor.Doubted, ""), check(doctor.Failed, doctor.ServerTopic)})
	want := []dashboard.Problem{
		{Severity: dashboard.Failing, What: "File descriptors", Detail: "used up", Remedy: "ulimit", Subject: dashboard.DoctorSubject},
		{Severity: dashboard.Warning, What: "File descriptors", Detail: "used up", Remedy: "ulimit", Subject: dashboard.DoctorSubject},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// Room that gets scarce is a problem before it is used up.
func TestSpaceProblems(t *testing.T) {
	for _, c := range []struct {
		name  string
		space batch.Space
		known bool
		err   error
		want  string // severity and what; "": none
	}{
		{"enough", batch.Space{Total: 1000, Free: 900, Reserve: 10}, true, nil, ""},
		{"filling", batch.Space{Total: 1000, Free: 40, Reserve: 10}, true, nil, "warning The disk is filling"},
		{"full", batch.Space{Total: 1000, Free: 9, Reserve: 10}, true, nil, "failing The disk is full"},
		{"without a bound", batch.Space{}, false, nil, ""},
		{"not to be measured", batch.Space{}, false, errors.New("no such directory"), "warning The disk space for files cannot be measured"},
	} {
		all := spaceProblems(c.space, c.known, c.err)
		if len(all) != min(1, len(c.want)) {
			t.Errorf("%s: %+v, want %q", c.name, all, c.want)
			continue
		}
		for _, p := range all {
			if string(p.Severity)+" "+p.What != c.want || p.Detail == "" || p.Remedy == "" || p.Subject != dashboard.FilesSubject {
				t.Errorf("%s: %+v, want %q", c.name, p, c.want)
			}
		}
	}
}

// TestMemoryProblems checks that slots that are idle because of the request memory limit are a
// problem, with the setting to change.
func TestMemoryProblems(t *testing.T) {
	m := batch.Memory{Limit: 64 << 20, Taken: 63 << 20}
	if all := memoryProblems(m); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	m.Wanted = 300<<20 - 5
	all := memoryProblems(m)
	if len(all) != 1 || all[0].Severity != dashboard.Warning || !strings.Contains(all[0].Detail, "64 MiB") || !strings.Contains(all[0].Remedy, "memory 300MiB ") {
		t.Errorf("%+v", all)
	}
}

// TestProblemsAreDated checks that a problem keeps the time of its first detection until it
// ends.
func TestProblemsAreDated(t *testing.T) {
	var o overview
	one, two := dashboard.Problem{What: "one"}, dashboard.Problem{What: "two", Since: time.Unix(5, 0)}
	for _, c := range []struct {
		at       int64
		problems []dashboard.Problem
		want     []int64
	}{
		{10, []dashboard.Problem{one, two}, []int64{10, 5}},
		{20, []dashboard.Problem{one}, []int64{10}},
		{30, nil, nil},
		{40, []dashboard.Problem{one}, []int64{40}},
	} {
		var got []int64
		for _, p := range o.dated(slices.Clone(c.problems), time.Unix(c.at, 0)) {
			got = append(got, p.Since.Unix())
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("at %d (-want +got):\n%s", c.at, diff)
		}
	}
}

// TestRemaining checks the estimate of a batch with missing data.
func TestRemaining(t *testing.T) {
	rate, none, rest := 60.0, 0.0, time.Minute
	b := func(s batch.Status) batch.Batch { return batch.Batch{Status: s} }
	paused := b(batch.InProgress)
	paused.PausedAt = time.Unix(1, 0)
	for _, c := range []struct {
		name     string
		batch    batch.Batch
		estimate engine.Estimate
		want     templates.Estimate
	}{
		{"known", b(batch.InProgress), engine.Estimate{LinesPerMinute: &rate, Remaining: &rest}, templates.Estimate{Known: true, Low: time.Minute, High: 78 * time.Second}},
		{"over", b(batch.Completed), engine.Estimate{}, templates.Estimate{}},
		{"just begun", b(batch.InProgress), engine.Estimate{}, templates.Estimate{Why: "it has just begun"}},
		{"standing still", b(batch.InProgress), engine.Estimate{LinesPerMinute: &none}, templates.Estimate{Why: "no line ended in the last minute"}},
		{"never", b(batch.InProgress), engine.Estimate{LinesPerMinute: &rate}, templates.Estimate{Why: "more than 30 days at this rate"}},
		{"paused", paused, engine.Estimate{LinesPerMinute: &rate}, templates.Estimate{Why: "it is paused"}},
		{"validating", b(batch.Validating), engine.Estimate{}, templates.Estimate{Why: "its file is being checked"}},
		{"finalizing", b(batch.Finalizing), engine.Estimate{}, templates.Estimate{Why: "its files are being written"}},
	} {
		if diff := cmp.Diff(c.want, remaining(c.batch, c.estimate)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Windows are written as clients write them.
func TestWindowText(t *testing.T) {
	for d, want := range map[time.Duration]string{24 * time.Hour: "24h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 720 * time.Hour: "720h"} {
		if got := windowText(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

// Batches that wait for one model are one problem, with a link to the oldest.
func TestWaitingBatchesAreOneProblemOfAModel(t *testing.T) {
	var active []dashboard.Batch
	for i := range 50 {
		b := batch.Batch{ID: fmt.Sprint("batch_", i), Status: batch.InProgress, Model: "m", CreatedAt: time.Unix(int64(100-i), 0)}
		active = append(active, dashboard.Batch{Batch: b})
	}
	got := batchProblems(active, nil, nil)
	if len(got) != 1 || got[0].What != "50 batches wait for the model m" || got[0].SubjectID != "batch_49" {
		t.Errorf("one model: %+v", got)
	}
	for i := range active {
		active[i].Model = fmt.Sprint("m", i)
	}
	if got := batchProblems(active, nil, nil); len(got) != shownAtRisk+1 {
		t.Errorf("50 models have %d problems, want %d", len(got), shownAtRisk+1)
	}
}

// That no upstream takes requests is so since the last one stopped.
func TestNoUpstreamSinceTheLastOneStopped(t *testing.T) {
	at := func(s int64) dashboard.Upstream {
		return dashboard.Upstream{UpstreamStatus: upstreams.UpstreamStatus{State: upstreams.StateDown, Since: time.Unix(s, 0)}}
	}
	if got := serverProblems([]dashboard.Upstream{at(5), at(9), at(7)})[0]; got.Since.Unix() != 9 {
		t.Errorf("%q since %v, want 9", got.What, got.Since.Unix())
	}
}
