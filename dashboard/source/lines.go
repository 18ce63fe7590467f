package source

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
)

// states maps the engine's states of lines to the dashboard's.
var states = map[engine.LineState]dashboard.LineState{
	engine.LinePending: dashboard.LineWaiting, engine.LineCompleted: dashboard.LineCompleted, engine.LineFailed: dashboard.LineFailed,
}

// Lines returns a page of lines.
func (b *batches) Lines(ctx context.Context, id string, q dashboard.LineQuery) (dashboard.LinePage, error) {
	query := engine.LineQuery{After: q.After, Limit: q.Limit}
	for theirs, ours := range states {
		if ours == q.State {
			query.State = theirs
		}
	}
	var out dashboard.LinePage
	for range linePasses {
		page, err := b.Engine.Lines(ctx, b.Tenant, id, query)
		if err != nil {
			return dashboard.LinePage{}, httpapi.Explain(err)
		}
		for _, l := range page.Lines {
			out.Lines = append(out.Lines, lineOf(l))
		}
		out.More, out.After = page.More, page.After
		query.After, query.Limit = page.After, q.Limit-len(out.Lines)
		if !page.More || query.Limit <= 0 {
			break
		}
	}
	return out, nil
}

// linePasses limits how many bounded parts of a batch the engine searches to fill a
// page of one state.
const linePasses = 4

func lineOf(l engine.Line) dashboard.Line {
	return dashboard.Line{
		Number: l.Number, CustomID: l.CustomID, State: states[l.State], Status: l.Status, Error: l.Message, Attempts: l.Attempts,
		Upstream: l.Upstream, Duration: l.Duration, InputTokens: l.Usage.InputTokens, OutputTokens: l.Usage.OutputTokens,
	}
}

// shownBytes limits how much of a request or a result is shown.
const shownBytes = 64 << 10

// Line returns one line.
func (b *batches) Line(ctx context.Context, id string, number int) (dashboard.LineDetail, error) {
	l, err := b.Engine.Line(ctx, b.Tenant, id, number)
	if err != nil {
		return dashboard.LineDetail{}, httpapi.Explain(err)
	}
	d := dashboard.LineDetail{Line: lineOf(l.Line), InputBytes: int64(len(l.Input)), ResultBytes: int64(len(l.Result))}
	d.Prompt, d.Answer = dashboard.Prompt(l.Input), dashboard.Answer(l.Result)
	d.Input, d.InputTruncated = shown(l.Input)
	d.Result, d.ResultTruncated = shown(l.Result)
	return d, nil
}

// shown returns the beginning of a text.
func shown(text []byte) (string, bool) {
	if len(text) <= shownBytes {
		return string(text), false
	}
	return string(text[:shownBytes]), true
}

// Results opens the results of a batch.
func (b *batches) Results(ctx context.Context, id string, kind dashboard.ResultKind) (dashboard.Download, error) {
	failed := kind == dashboard.ErrorResults
	r, err := b.Engine.Results(ctx, b.Tenant, id, failed)
	if err != nil {
		return dashboard.Download{}, httpapi.Explain(err)
	}
	return dashboard.Download{ReadCloser: r, Filename: engine.ResultsName(id, failed), Bytes: r.Bytes}, nil
}

func gone(err error) bool { return errors.Is(err, batch.ErrNotFound) }

// refused reports whether err means that the current state does not allow the
// operation.
func refused(err error) bool {
	_, ok := errors.AsType[*batch.StateError](err)
	return ok
}
