package source

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/templates"
	"github.com/tidegate/tidegate/upstreams"
)

// shownModels limits the models of an inspection.
const shownModels = 20

// inspectionOf returns the key of an inspection: its findings depend on the models that the
// client may use.
func inspectionOf(ctx context.Context, id string) string {
	return id + "\n" + strings.Join(access.From(ctx).Models, "\n")
}

// Inspect checks a file of requests, and estimates the tokens and the time of a batch
// of it.
func (f *files) Inspect(ctx context.Context, id string) (dashboard.Inspection, error) {
	file, err := f.Config.Files.File(ctx, f.Tenant, id)
	if err != nil {
		return dashboard.Inspection{}, err
	}
	found, known := f.inspected().get(inspectionOf(ctx, id), f.Config.Now())
	if !known {
		if found, err = f.Engine.Inspect(ctx, f.Tenant, id); err != nil {
			return dashboard.Inspection{}, httpapi.Explain(err)
		}
		f.inspected().put(inspectionOf(ctx, id), f.Config.Now(), found)
	}
	in := dashboard.Inspection{File: file, Endpoint: found.Endpoint, Seen: found.Seen}
	served := access.VisibleModels(access.From(ctx), f.models())
	for model, lines := range found.Models {
		in.Models = append(in.Models, templates.ModelLines{Model: model, Lines: lines, Served: slices.Contains(served, model)})
	}
	slices.SortFunc(in.Models, func(a, b templates.ModelLines) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Model, b.Model))
	})
	in.Models = in.Models[:min(len(in.Models), shownModels)]
	if len(found.Findings) > 0 {
		return in, nil // the file cannot become a batch
	}
	return in, f.foresee(ctx, &in, found)
}

const (
	foreseeSpan    = 7 * 24 * time.Hour // period of averages
	foreseeEnough  = 20                 // requests of a model that make an average
	bytesPerToken  = 4                  // of English text
	foreseeLonger  = 1.5
	foreseeNothing = "no batch has run in the last 7 days"
	foreseeBatches = 50  // ended batches that are examined
	foreseeLines   = 100 // minimum lines of a batch whose rate is used
)

// foresee estimates tokens and time from the usage of the models in the last days.
func (f *files) foresee(ctx context.Context, in *dashboard.Inspection, found engine.Inspection) error {
	now := f.Config.Now()
	period := batch.Period{From: now.Add(-foreseeSpan), To: now.Add(bucket)}
	records, err := f.analytics().UsageByModel(ctx, f.Tenant, period)
	if err != nil {
		return err
	}
	known := averages(records)
	var guessed int64 // lines of models without an average
	for model, lines := range found.Models {
		a, ok := known[model]
		if !ok {
			guessed += lines
			continue
		}
		in.InputTokens += int64(a.input * float64(lines))
		in.OutputTokens += int64(a.output * float64(lines))
	}
	switch {
	case guessed == 0:
		in.Basis = "Tokens: averages of these models over the last 7 days."
	case guessed < found.Lines:
		in.Basis = "Tokens: averages of the models over the last 7 days; new models are left out of the answers and counted by their size."
	default:
		in.Basis = "Tokens: the size of the requests, a token to every 4 bytes. Answers of these models are not known yet."
	}
	if found.Lines > 0 {
		in.InputTokens += found.Bytes / bytesPerToken * guessed / found.Lines
	}
	in.Duration, err = f.duration(ctx, in.Lines, now)
	if in.Duration.Known {
		in.Basis += " Time: the best 15 minutes or the quickest batch of the last 7 days, and what waits already."
	}
	return err
}

type average struct{ input, output float64 }

// averages returns tokens per request by model, of batches if there were enough, or
// else of live requests.
func averages(records []batch.UsageRecord) map[string]average {
	all := make(map[string]average)
	for _, class := range []upstreams.Class{upstreams.Live, upstreams.Batch} { // batches take precedence
		for _, r := range records {
			good := r.Requests - r.Failures
			if r.Class == class.String() && good >= foreseeEnough {
				all[r.Model] = average{float64(r.Usage.InputTokens) / float64(good), float64(r.Usage.OutputTokens) / float64(good)}
			}
		}
	}
	return all
}

// duration estimates how long a number of lines take, after the waiting ones.
func (f *files) duration(ctx context.Context, lines int64, now time.Time) (templates.Estimate, error) {
	points, err := f.analytics().UsageSeries(ctx, f.Tenant, "", batch.Period{From: now.Add(-foreseeSpan), To: now.Add(bucket), Step: bucket})
	if err != nil {
		return templates.Estimate{}, err
	}
	ended, err := f.analytics().FindBatches(ctx, f.Tenant, batch.BatchFilter{Status: batch.Completed, From: now.Add(-foreseeSpan), Limit: foreseeBatches})
	if err != nil {
		return templates.Estimate{}, err
	}
	rate := bestRate(points, ended.Batches)
	if rate == 0 {
		return templates.Estimate{Why: foreseeNothing}, nil
	}
	waiting, err := f.analytics().Waiting(ctx, f.Tenant)
	if err != nil {
		return templates.Estimate{}, err
	}
	seconds := func(lines int64, times float64) time.Duration {
		return time.Duration(float64(lines) / rate * times * float64(time.Second))
	}
	return templates.Estimate{Known: true, Low: seconds(lines, 1), High: seconds(lines+waiting.Lines, foreseeLonger)}, nil
}

// bestRate returns the maximum measured lines per second. Long work is measured by
// buckets, which it fills; shorter batches by their own duration.
func bestRate(points []batch.UsagePoint, ended []batch.Batch) float64 {
	best := 0.0
	for _, p := range points {
		if p.Class == upstreams.Batch.String() {
			best = max(best, float64(p.Requests)/bucket.Seconds())
		}
	}
	for _, b := range ended {
		lines, took := b.Counts.Completed+b.Counts.Failed, b.FinalizingAt.Sub(b.InProgressAt)
		if lines >= foreseeLines && took > 0 {
			best = max(best, float64(lines)/took.Seconds())
		}
	}
	return best
}
