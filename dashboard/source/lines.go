package source

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
)

// linePasses limits how many bounded parts of a batch the engine searches to fill a
// page of one state.
const linePasses = 4

// Lines returns a page of lines.
func (b *batches) Lines(ctx context.Context, id string, q engine.LineQuery) (engine.LinePage, error) {
	var out engine.LinePage
	for range linePasses {
		page, err := b.Engine.Lines(ctx, b.Tenant, id, q)
		if err != nil {
			return engine.LinePage{}, httpapi.Explain(err)
		}
		out.Lines = append(out.Lines, page.Lines...)
		out.More, out.After = page.More, page.After
		q.After, q.Limit = page.After, q.Limit-len(page.Lines)
		if !page.More || q.Limit <= 0 {
			break
		}
	}
	return out, nil
}

// Line returns one line.
func (b *batches) Line(ctx context.Context, id string, number int) (engine.LineDetail, error) {
	l, err := b.Engine.Line(ctx, b.Tenant, id, number)
	return l, httpapi.Explain(err)
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
