package dashboardtest

import (
	"math"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// The models and the servers of the pool.
const (
	llama = "meta-llama/Llama-3.3-70B-Instruct"
	qwen  = "Qwen/Qwen3-32B"
	bge   = "BAAI/bge-m3"
)

// fill makes the history.
func (f *Fake) fill() {
	now := f.Clock()
	f.fillUpstreams(now)
	say := f.Say
	type plan struct {
		name, model     string
		status          batch.Status
		total, ok, bad  int64
		age, took       time.Duration
		inFlight        int64
		rate            float64
		priority        int
		paused, misses  bool
		endpoint, owner string
	}
	for _, p := range []plan{
		{name: "support-tickets-2026-11-23.jsonl", model: llama, status: batch.Validating, age: 8 * time.Second, owner: "support"},
		{name: "nightly-summaries.jsonl", model: llama, status: batch.InProgress, total: 48_000, ok: 31_204, bad: 17, age: 96 * time.Minute, inFlight: 112, rate: 5.41, owner: "news"},
		{name: "contract-extraction-eu.jsonl", model: qwen, status: batch.InProgress, total: 9_500, ok: 2_118, bad: 0, age: 22 * time.Minute, inFlight: 64, rate: 1.62, priority: 10, owner: "legal"},
		{name: "embeddings-docs-v7.jsonl", model: bge, status: batch.InProgress, total: 50_000, ok: 49_871, bad: 3, age: 31 * time.Minute, inFlight: 64, rate: 27.4, endpoint: "/v1/embeddings", owner: "search"},
		{name: "eval-harness-mmlu.jsonl", model: llama, status: batch.InProgress, total: 14_042, ok: 3_310, bad: 212, age: 23 * time.Hour, rate: .61, inFlight: 9, misses: true, priority: -20, owner: "research"},
		{name: "backfill-titles-2019.jsonl", model: qwen, status: batch.InProgress, total: 50_000, ok: 12_800, bad: 1, age: 5 * time.Hour, paused: true, priority: -50, owner: "news"},
		{name: "transcripts-week-47.jsonl", model: llama, status: batch.Finalizing, total: 6_400, ok: 6_391, bad: 9, age: 48 * time.Minute, owner: "media"},
		{name: "moderation-sample.jsonl", model: qwen, status: batch.Cancelling, total: 2_000, ok: 640, bad: 0, age: 12 * time.Minute, owner: "trust"},
		{name: "product-descriptions.jsonl", model: llama, status: batch.Completed, total: 22_450, ok: 22_450, bad: 0, age: 7 * time.Hour, took: 98 * time.Minute, owner: "shop"},
		{name: "classify-inbox.jsonl", model: qwen, status: batch.Completed, total: 4_012, ok: 3_874, bad: 138, age: 9 * time.Hour, took: 14 * time.Minute, owner: "support"},
		{name: "broken-export.jsonl", status: batch.Failed, age: 10 * time.Hour, took: 3 * time.Second, owner: "bi"},
		{name: "long-context-probe.jsonl", model: llama, status: batch.Expired, total: 800, ok: 512, bad: 288, age: 30 * time.Hour, took: 24 * time.Hour, owner: "research"},
		{name: "wrong-prompt.jsonl", model: llama, status: batch.Cancelled, total: 12_000, ok: 377, bad: 0, age: 33 * time.Hour, took: 4 * time.Minute, owner: "shop"},
	} {
		b := &dashboard.BatchDetail{}
		b.ID, b.InputName, b.Model, b.Status = f.id("batch_"), say(p.name), say(p.model), p.status
		if p.model == "" || p.status == batch.Validating {
			b.Model = ""
		}
		b.Tenant, b.Endpoint, b.CompletionWindow, b.Priority = batch.DefaultTenant, p.endpoint, "24h", p.priority
		if b.Endpoint == "" {
			b.Endpoint = "/v1/chat/completions"
		}
		b.InputFileID = f.id("file-")
		b.InputBytes = max(p.total, 900) * 1_130
		b.Metadata = map[string]string{say("owner"): say(p.owner), "description": say("made by the " + p.owner + " pipeline")}
		b.CreatedAt = now.Add(-p.age)
		b.ExpiresAt = b.CreatedAt.Add(24 * time.Hour)
		b.Counts = openai.RequestCounts{Total: p.total, Completed: p.ok, Failed: p.bad}
		b.Usage = openai.Usage{InputTokens: p.ok * 812, OutputTokens: p.ok * 204}
		b.Usage.InputTokensDetails.CachedTokens = p.ok * 311
		if p.endpoint != "" {
			b.Usage.OutputTokens = 0
		}
		b.InFlight, b.LineRate = p.inFlight, p.rate
		if p.total > 0 {
			b.InProgressAt = b.CreatedAt.Add(3 * time.Second)
		}
		end := b.CreatedAt.Add(p.took)
		switch p.status {
		case batch.Finalizing:
			b.FinalizingAt = now.Add(-2 * time.Second)
		case batch.Cancelling:
			b.CancellingAt = now.Add(-1 * time.Second)
		case batch.Completed:
			b.FinalizingAt, b.CompletedAt = end.Add(-4*time.Second), end
		case batch.Failed:
			b.FailedAt = end
			b.Failures = engine.Failures{}
			b.Errors = f.findings()
		case batch.Expired:
			b.FinalizingAt, b.ExpiredAt = end.Add(-2*time.Second), end
		case batch.Cancelled:
			b.CancellingAt, b.CancelledAt = end.Add(-1*time.Second), end
		default:
		}
		if p.paused {
			b.PausedAt = now.Add(-40 * time.Minute)
		}
		b.Remaining = f.remaining(p.rate, p.total-p.ok-p.bad, p.paused)
		b.Misses = b.Remaining.Known && now.Add(b.Remaining.Low).After(b.ExpiresAt)
		if b.Status.Terminal() && p.ok > 0 {
			b.OutputFileID, b.OutputBytes = f.id("file-"), p.ok*2_240
		}
		if b.Status.Terminal() && p.bad > 0 {
			b.ErrorFileID, b.ErrorBytes = f.id("file-"), p.bad*420
		}
		f.errorsOf(b)
		b.History = history(b, now)
		f.batches = append(f.batches, b)
		f.fileOf(b)
	}
	for i := range 120 { // so that there are pages
		b := &dashboard.BatchDetail{}
		b.ID, b.InputName, b.Model, b.Status = f.id("batch_"), say("hourly-"+strconv.Itoa(i)+".jsonl"), say(qwen), batch.Completed
		b.Endpoint, b.CompletionWindow, b.InputFileID = "/v1/chat/completions", "24h", f.id("file-")
		b.CreatedAt = now.Add(-35*time.Hour - time.Duration(i)*time.Hour)
		b.InProgressAt, b.FinalizingAt = b.CreatedAt.Add(time.Second), b.CreatedAt.Add(9*time.Minute)
		b.CompletedAt, b.ExpiresAt = b.FinalizingAt.Add(time.Second), b.CreatedAt.Add(24*time.Hour)
		n := int64(900 + i*7)
		b.Counts = openai.RequestCounts{Total: n, Completed: n}
		b.Usage = openai.Usage{InputTokens: n * 640, OutputTokens: n * 120}
		b.InputBytes = n * 1_130
		b.History = history(b, now)
		f.batches = append(f.batches, b)
		f.fileOf(b)
	}
}

func (f *Fake) remaining(rate float64, left int64, paused bool) templates.Estimate {
	if paused {
		return templates.Estimate{Why: "it is paused"}
	}
	if rate == 0 {
		return templates.Estimate{Why: "measured for less than a minute"}
	}
	middle := time.Duration(float64(left) / rate * float64(time.Second))
	return templates.Estimate{Known: true, Low: middle * 85 / 100, High: middle * 120 / 100}
}

func (f *Fake) findings() []openai.BatchError {
	all := make([]openai.BatchError, 0, 3)
	for i, what := range []struct{ code, param, message string }{
		{"invalid_json_line", "", "This line is not valid JSON: unexpected end after {\"custom_id\":\"row-18\",\"body\":{\"messages\":"},
		{"duplicate_custom_id", "custom_id", "The custom_id 'row-7' was already used in line 7."},
		{"model_not_found", "body.model", "No upstream has the model 'gpt-5-mini'."},
	} {
		f := openai.BatchError{Code: what.code, Message: f.Say(what.message), Line: new(18 + i*23)}
		if what.param != "" {
			f.Param = new(what.param)
		}
		all = append(all, f)
	}
	return all
}

func (f *Fake) errorsOf(b *dashboard.BatchDetail) {
	bad := b.Counts.Failed
	if bad == 0 {
		return
	}
	add := func(status int, message, whole string, lines int64, number int) {
		if lines == 0 {
			return
		}
		b.Failures.Groups = append(b.Failures.Groups, engine.FailureGroup{
			Status: status, Message: f.Say(message), Lines: lines,
			Examples: []engine.Line{
				{Number: number, CustomID: f.Say("row-" + strconv.Itoa(number)), Message: f.Say(whole)},
				{Number: number + 64, CustomID: f.Say("row-" + strconv.Itoa(number+64)), Message: f.Say(message)},
			},
		})
	}
	first := bad - bad/4
	if b.Status == batch.Expired {
		add(0, "This request could not be executed before the completion window expired.", "This request could not be executed before the completion window expired.", bad, 513)
	} else {
		add(400, "This model's maximum context length is … tokens. However, you requested … tokens", "This model's maximum context length is 32768 tokens. However, you requested 41216 tokens (40192 in the messages, 1024 in the completion).", first, 48)
		add(502, "the connection was closed before the answer was complete", "the connection was closed before the answer was complete", bad-first, 200)
	}
	b.Failures.Looked = bad
}

// history makes up to 60 steps in which a batch made uneven progress.
func history(b *dashboard.BatchDetail, now time.Time) []dashboard.ProgressPoint {
	if b.InProgressAt.IsZero() {
		return nil
	}
	end := now
	for _, t := range []time.Time{b.FinalizingAt, b.CancellingAt, b.PausedAt} {
		if !t.IsZero() && t.Before(end) {
			end = t
		}
	}
	const steps = 60
	var all []dashboard.ProgressPoint
	for i := range steps + 1 {
		x := float64(i) / steps
		share := x + .04*math.Sin(9*x)*(1-x)*2*x
		all = append(all, dashboard.ProgressPoint{
			At:        b.InProgressAt.Add(time.Duration(float64(end.Sub(b.InProgressAt)) * x)),
			Completed: int64(share * float64(b.Counts.Completed)),
			Failed:    int64(x * x * float64(b.Counts.Failed)),
		})
	}
	return all
}

func (f *Fake) fileOf(b *dashboard.BatchDetail) {
	add := func(id, name, purpose string, bytes int64, created time.Time) {
		if id == "" {
			return
		}
		file := dashboard.File{Use: batch.FileUse{Latest: []string{b.ID}, Batches: 1, Needed: purpose == "batch" && !b.Status.Terminal()}}
		file.ID, file.Filename, file.Purpose, file.Bytes, file.CreatedAt = id, name, purpose, bytes, created
		file.ExpiresAt = created.Add(30 * 24 * time.Hour)
		f.files = append(f.files, file)
	}
	add(b.OutputFileID, b.ID+"_output.jsonl", "batch_output", b.OutputBytes, ended(b))
	add(b.ErrorFileID, b.ID+"_error.jsonl", "batch_output", b.ErrorBytes, ended(b))
	add(b.InputFileID, b.InputName, "batch", b.InputBytes, b.CreatedAt.Add(-time.Minute))
}

func (f *Fake) fillUpstreams(now time.Time) {
	add := func(u upstreams.UpstreamStatus, recent, failures int64, ttft, itl time.Duration) {
		u.URL, u.Reason = f.Say(u.URL), f.sayIf(u.Reason)
		for i, m := range u.Models {
			u.Models[i] = f.Say(m)
		}
		up := dashboard.Upstream{UpstreamStatus: u, Recent: upstreams.Recent{Window: 5 * time.Minute, Requests: recent, Failures: failures}}
		if ttft > 0 {
			up.Recent.TTFT = upstreams.Latency{N: recent / 3, P50: ttft, P95: ttft * 7 / 2}
			up.Recent.ITL = upstreams.Latency{N: recent * 60, P50: itl, P95: itl * 2}
		}
		f.upstreams = append(f.upstreams, up)
	}
	add(upstreams.UpstreamStatus{
		URL: "http://vllm-0.gpu.internal:8000", State: upstreams.StateUp, Since: now.Add(-9 * 24 * time.Hour), Models: []string{llama}, MaxModelLen: 32_768,
		Version: "0.11.2", Weight: 1, MaxNumSeqs: 256, BatchLimit: 192, BatchSlots: 154, LiveInFlight: 38, BatchInFlight: 121, HasMetrics: true, Running: 159, KVCacheUsage: .71,
		Requests: 4_812_009, Failures: 311,
	}, 2_140, 0, 184*time.Millisecond, 31*time.Millisecond)
	add(upstreams.UpstreamStatus{
		URL: "http://vllm-1.gpu.internal:8000", State: upstreams.StateBusy, Since: now.Add(-4 * time.Minute), Reason: "GET /health: context deadline exceeded", Models: []string{llama}, MaxModelLen: 32_768,
		Version: "0.11.2", Weight: 1, MaxNumSeqs: 256, BatchLimit: 192, BatchSlots: 154, LiveInFlight: 51, BatchInFlight: 0, HasMetrics: true, Running: 51, Waiting: 7, KVCacheUsage: .98,
		CachedPrompts: map[string]upstreams.CachedPart{f.Say(llama): {Live: .42, Batch: .95}},
		Requests:      4_790_112, Failures: 2_940,
	}, 1_322, 41, 920*time.Millisecond, 58*time.Millisecond)
	add(upstreams.UpstreamStatus{
		URL: "http://vllm-2.gpu.internal:8000", State: upstreams.StateDown, Since: now.Add(-11 * time.Minute), Reason: "dial tcp 10.2.0.12:8000: connect: connection refused", Models: []string{qwen}, MaxModelLen: 40_960,
		Version: "0.11.0", Weight: 1, MaxNumSeqs: 128, BatchLimit: 96, BatchSlots: 0, Requests: 1_882_344, Failures: 18_220,
	}, 0, 0, 0, 0)
	add(upstreams.UpstreamStatus{
		URL: "http://vllm-3.gpu.internal:8000", State: upstreams.StateUp, Since: now.Add(-26 * time.Hour), Models: []string{qwen, bge}, MaxModelLen: 40_960,
		Version: "0.11.2", Weight: 2, MaxNumSeqs: 256, BatchLimit: 192, BatchSlots: 154, LiveInFlight: 4, BatchInFlight: 128, OthersInFlight: 12, HasMetrics: true, Running: 142, KVCacheUsage: .44,
		Requests: 2_001_877, Failures: 12,
	}, 6_402, 3, 96*time.Millisecond, 18*time.Millisecond)
	add(upstreams.UpstreamStatus{
		URL: "http://10.2.0.31:8000", State: upstreams.StateLoading, Since: now.Add(-70 * time.Second), Reason: "it is loading its model", Models: []string{}, Weight: 1, MaxNumSeqs: 256, BatchLimit: 192, BatchSlots: 154,
	}, 0, 0, 0, 0)
}

func (f *Fake) sayIf(text string) string {
	if text == "" {
		return ""
	}
	return f.Say(text)
}

// ended returns the end of a batch.
func ended(b *dashboard.BatchDetail) time.Time {
	for _, t := range []time.Time{b.CompletedAt, b.ExpiredAt, b.CancelledAt} {
		if !t.IsZero() {
			return t
		}
	}
	return b.CreatedAt
}
