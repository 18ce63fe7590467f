package source

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/httpapi"
	"github.com/tidegate/tidegate/dashboard"
)

type batches struct {
	*source
	failures recent[string, counted]
}

// counted caches the grouped failures of a batch for a number of failures.
type counted struct {
	failed int64
	engine.Failures
}

// failuresAge is the maximum age of grouped failures while more lines of the batch
// fail.
const failuresAge = 10 * time.Second

// models returns the models of the servers, for filters.
func (s *source) models() []string {
	names := make(map[string]bool)
	for _, u := range s.Pool.Status() {
		for _, m := range u.Models {
			names[m] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Batch returns the details of a batch.
func (b *batches) Batch(ctx context.Context, id string) (dashboard.BatchDetail, error) {
	row, err := b.Engine.Batch(ctx, b.Tenant, id)
	if err != nil {
		return dashboard.BatchDetail{}, err
	}
	described, err := b.describe(ctx, []batch.Batch{row})
	if err != nil {
		return dashboard.BatchDetail{}, err
	}
	d := dashboard.BatchDetail{Batch: described[0]}
	for _, f := range []struct {
		id    string
		bytes *int64
	}{{row.InputFileID, &d.InputBytes}, {row.OutputFileID, &d.OutputBytes}, {row.ErrorFileID, &d.ErrorBytes}} {
		if *f.bytes, err = b.sizeOf(ctx, f.id); err != nil {
			return dashboard.BatchDetail{}, err
		}
	}
	if d.History, err = b.history(ctx, row); err != nil {
		return dashboard.BatchDetail{}, err
	}
	if row.Counts.Failed == 0 {
		return d, nil
	}
	if err := b.explain(ctx, &d); err != nil {
		return dashboard.BatchDetail{}, err
	}
	if row.Status.Terminal() {
		d.RetriedBy, err = b.retriedBy(ctx, row)
	}
	return d, err
}

// Some returns the existing batches among ids.
func (b *batches) Some(ctx context.Context, ids []string) ([]dashboard.Batch, error) {
	rows := make([]batch.Batch, 0, len(ids))
	for _, id := range ids {
		row, err := b.Engine.Batch(ctx, b.Tenant, id)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return b.describe(ctx, rows)
}

// sizeOf returns the size of a file in bytes, 0 if it does not exist.
func (s *source) sizeOf(ctx context.Context, id string) (int64, error) {
	if id == "" {
		return 0, nil
	}
	f, err := s.Files.File(ctx, s.Tenant, id)
	if gone(err) {
		return 0, nil
	}
	return f.Bytes, err
}

// historyPoints limits the points of a history.
const historyPoints = 240

// history sums minutes into points.
func (b *batches) history(ctx context.Context, row batch.Batch) ([]dashboard.ProgressPoint, error) {
	if row.InProgressAt.IsZero() {
		return nil, nil
	}
	minutes, err := b.Engine.Progress(ctx, b.Tenant, row.ID, row.InProgressAt)
	if err != nil || len(minutes) == 0 {
		return nil, err
	}
	points := []dashboard.ProgressPoint{{At: row.InProgressAt}}
	span := minutes[len(minutes)-1].At.Sub(row.InProgressAt)
	step := max(time.Minute, (span/historyPoints).Truncate(time.Minute)+time.Minute)
	sum := dashboard.ProgressPoint{}
	for i, m := range minutes {
		sum.Completed += m.Completed
		sum.Failed += m.Failed
		sum.At = m.At.Add(time.Minute)
		last := i == len(minutes)-1
		if !last && minutes[i+1].At.Truncate(step).Equal(m.At.Truncate(step)) {
			continue
		}
		if last {
			sum.At = minTime(sum.At, lineEnd(row, b.Config.Now()))
		}
		points = append(points, sum)
		if !last && minutes[i+1].At.Sub(sum.At) >= step { // it made no progress
			points = append(points, dashboard.ProgressPoint{At: minutes[i+1].At, Completed: sum.Completed, Failed: sum.Failed})
		}
	}
	return points, nil
}

// lineEnd returns an upper bound of the time when the last line of a batch ended.
func lineEnd(b batch.Batch, now time.Time) time.Time {
	for _, at := range []time.Time{b.FinalizingAt, b.CancellingAt} {
		if !at.IsZero() {
			return at
		}
	}
	return now
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// explain groups the failures of a batch. The result is cached, and recomputed when
// there are more failures, but not more often than every failuresAge.
func (b *batches) explain(ctx context.Context, d *dashboard.BatchDetail) error {
	now := b.Config.Now()
	known, ok := b.failures.get(d.ID, now)
	if !ok || d.Status.Terminal() && known.failed != d.Counts.Failed {
		f, err := b.Engine.Failures(ctx, b.Tenant, d.ID)
		switch {
		case refused(err):
			return nil // the remaining data does not explain the failure
		case err != nil:
			return err
		}
		known = counted{d.Counts.Failed, f}
		b.failures.put(d.ID, now, known)
	}
	d.Failures = known.Failures
	return nil
}

// Create creates a batch in the same way as the API.
func (b *batches) Create(ctx context.Context, form batch.CreateRequest) (string, error) {
	body, err := json.Marshal(map[string]any{
		"input_file_id": form.InputFileID, "endpoint": form.Endpoint, "completion_window": windowText(form.Window),
		"priority": form.Priority, "metadata": form.Metadata,
	})
	if err != nil {
		return "", fmt.Errorf("writing request: %w", err)
	}
	r, err := httpapi.ParseCreate(body)
	if err != nil {
		return "", err
	}
	r.Quota = b.Files.Quota(b.Tenant)
	made, err := b.Engine.CreateBatch(ctx, b.Tenant, r)
	return made.ID, httpapi.Explain(err)
}

// windowText formats a completion window as in the API: "24h", "90m".
func windowText(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "0s")
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Cancel cancels a batch.
func (b *batches) Cancel(ctx context.Context, id string) error {
	_, err := b.Engine.CancelBatch(ctx, b.Tenant, id)
	return err
}

// Pause stops starting lines of a batch.
func (b *batches) Pause(ctx context.Context, id string) error {
	_, err := b.Engine.PauseBatch(ctx, b.Tenant, id)
	return err
}

// Resume resumes a batch.
func (b *batches) Resume(ctx context.Context, id string) error {
	_, err := b.Engine.ResumeBatch(ctx, b.Tenant, id)
	return err
}

// SetPriority sets the priority of a batch.
func (b *batches) SetPriority(ctx context.Context, id string, priority int) error {
	_, err := b.Engine.PrioritizeBatch(ctx, b.Tenant, id, priority)
	return err
}

// Delete removes a batch that has ended.
func (b *batches) Delete(ctx context.Context, id string, input bool) error {
	_, err := b.Engine.DeleteBatch(ctx, b.Tenant, id, batch.Deletion{Input: input, EndedOnly: true})
	return err
}
