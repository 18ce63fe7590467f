package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidegate/tidegate/access/limits"
	"github.com/tidegate/tidegate/batch"
)

// WaitReason returns why no line of a batch can start although the batch is not
// paused, "" if there is no such reason. For batches whose models are only
// in the store it uses the last look at the backlog.
func (r *Reads) WaitReason(ctx context.Context, b batch.Batch) string {
	if b.Status != batch.Validating && b.Status != batch.InProgress || !b.PausedAt.IsZero() {
		return ""
	}
	if r.member.lacksWorker() {
		return "no gateway works on batches"
	}
	if b.Status == batch.InProgress {
		if c, closed := r.Closed(); closed {
			return c.String()
		}
	}
	if reason := r.modelWait(ctx, &b); reason != "" {
		return reason
	}
	if limiter := r.dispatcher.Capabilities().Limits; limiter != nil && b.Status == batch.InProgress {
		return limiter.Reached(limits.Client{Key: b.KeyID, Tenant: b.Tenant})
	}
	return ""
}

// modelWait returns which model keeps a batch waiting. A batch in progress waits if
// none of its remaining lines has a server, a batch in validation if one of its models
// has none.
func (r *Reads) modelWait(ctx context.Context, b *batch.Batch) (reason string) {
	for _, model := range r.remainingModels(ctx, b) {
		unavailable := unavailability(model, r.dispatcher.Up(model))
		if unavailable == "" {
			if b.Status == batch.InProgress {
				return ""
			}
			continue
		}
		if reason == "" {
			reason = unavailable
		}
	}
	return reason
}

// remainingModels returns the models of the lines of a batch that have no result, nil
// if they are not known.
func (r *Reads) remainingModels(ctx context.Context, b *batch.Batch) []string {
	if b.Model != "" {
		return []string{b.Model}
	}
	v := r.backlog.look(ctx)
	if v == nil {
		return nil
	}
	var models []string
	for _, m := range v.models[b.ID] {
		if m.Lines <= m.Done {
			continue
		}
		if m.Model == "" { // models beyond MaxInspectedModels
			return nil
		}
		models = append(models, m.Model)
	}
	return models
}

// unavailability describes an error of Dispatcher.Up, "" if a line may be sent.
func unavailability(model string, err error) string {
	switch {
	case err == nil || errors.Is(err, batch.ErrTrial):
		return ""
	case errors.Is(err, batch.ErrLoading):
		return fmt.Sprintf("waiting for model %q: a server is loading", model)
	case errors.Is(err, batch.ErrAway):
		return fmt.Sprintf("waiting for model %q: its servers are stopped", model)
	case errors.Is(err, batch.ErrUnknownModel):
		return fmt.Sprintf("waiting for model %q: no server has it", model)
	default:
		return fmt.Sprintf("waiting for model %q: no server accepts requests", model)
	}
}
