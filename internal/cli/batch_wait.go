package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func batchWait() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wait <id...>", Short: "Waits until batches have ended", Args: ids(cobra.MinimumNArgs(1)),
		Example: "  tidegate batch wait batch_0123456789abcdef0123456789abcdef",
		Long:    "Waits until batches have ended. The status is 0 when every line of each has completed, 2 when not, 1 for an error.",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		var incomplete error
		if err := s.each(ctx, args, func(id string) error {
			b, err := s.wait(ctx, id)
			if err != nil {
				return s.goesOn(ctx, id, err)
			}
			incomplete = errors.Join(incomplete, complete(b))
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID, b.Status) })
		}); err != nil {
			return err
		}
		if incomplete != nil {
			return &ExitError{ExitIncomplete, incomplete}
		}
		return nil
	})
	return cmd
}

// The polling interval for a batch: short at first, because small batches end
// soon.
const (
	firstLook = 50 * time.Millisecond
	laterLook = time.Second
)

// wait waits until a batch has ended and shows its progress. It tolerates an unreachable
// gateway for a while, because the batch survives a restart. With an error only the id of
// the returned batch is valid.
func (s *session) wait(ctx context.Context, id string) (openai.Batch, error) {
	bar := newProgress(s.err)
	defer bar.end()
	var answered time.Time
	for pause := firstLook; ; pause = min(pause*3/2, laterLook) {
		b, err := s.Batch(ctx, id)
		switch {
		case err == nil:
			answered = time.Now()
			c := b.RequestCounts
			bar.show(state{label: b.ID + " " + batchState(b), done: c.Completed + c.Failed, failed: c.Failed, total: c.Total, unit: "lines"})
			if ended(b.Status) {
				return b, nil
			}
		case answered.IsZero() || !client.MayPass(err) || time.Since(answered) > s.patience:
			return openai.Batch{ID: id}, err
		default:
			bar.show(state{label: id + ": waiting for the gateway"})
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return openai.Batch{ID: id}, ctx.Err()
		case <-timer.C:
		}
	}
}

// goesOn adds to the error of an interrupted wait that the batch continues.
func (s *session) goesOn(ctx context.Context, id string, err error) error {
	hint := fmt.Sprintf("%s continues; wait for it again with: tidegate batch wait %s%s", id, id, s.named)
	switch {
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return &ExitError{ExitInterrupted, errors.New("interrupted: " + hint)}
	case client.MayPass(err):
		return fmt.Errorf("waiting for %s: %w\n%s", id, err, hint)
	default:
		return fmt.Errorf("waiting for %s: %w", id, err)
	}
}

// complete is an error unless every line of a batch has completed.
func complete(b openai.Batch) error {
	c := b.RequestCounts
	if b.Status == "completed" && c.Completed == c.Total {
		return nil
	}
	if b.Status == "failed" {
		err := fmt.Errorf("%s failed: its input did not validate", b.ID)
		if b.Errors != nil && len(b.Errors.Data) > 0 {
			err = fmt.Errorf("%w: %s", err, finding(b.Errors.Data[0]))
			if more := len(b.Errors.Data) - 1; more > 0 {
				err = fmt.Errorf("%w; %s more: tidegate batch show %s", err, count(more, "finding", "findings"), b.ID)
			}
		}
		return &ExitError{ExitIncomplete, err}
	}
	return &ExitError{ExitIncomplete, fmt.Errorf("%s is %s: %d of %d lines completed, %d failed", b.ID, b.Status, c.Completed, c.Total, c.Failed)}
}
