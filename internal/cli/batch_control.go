package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func batchPause() *cobra.Command {
	return batchChange("pause", "Pauses batches; lines that run finish, no new ones start", "pausing",
		func(ctx context.Context, s *session, id string) (openai.Batch, error) { return s.PauseBatch(ctx, id) })
}

func batchResume() *cobra.Command {
	return batchChange("resume", "Resumes paused batches", "resuming",
		func(ctx context.Context, s *session, id string) (openai.Batch, error) { return s.ResumeBatch(ctx, id) })
}

func batchCancel() *cobra.Command {
	return batchChange("cancel", "Cancels batches; finished lines are kept", "cancelling",
		func(ctx context.Context, s *session, id string) (openai.Batch, error) { return s.Cancel(ctx, id) })
}

// batchChange makes a command that changes each batch that is named.
func batchChange(verb, short, gerund string, change func(context.Context, *session, string) (openai.Batch, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " <id...>", Short: short, Args: ids(cobra.MinimumNArgs(1)),
		Example: "  tidegate batch " + verb + " batch_0123456789abcdef0123456789abcdef",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		return s.each(ctx, args, func(id string) error {
			b, err := change(ctx, s, id)
			if err != nil {
				return fmt.Errorf("%s %s: %w", gerund, id, err)
			}
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, clean(b.ID), batchState(b)) })
		})
	})
	return cmd
}

// batchState returns the status of a batch for output, including that it is paused.
func batchState(b openai.Batch) string {
	if b.PausedAt != nil && !ended(b.Status) {
		if b.PauseReason != nil {
			return clean(b.Status) + " (paused: " + clean(*b.PauseReason) + ")"
		}
		return clean(b.Status) + " (paused)"
	}
	if b.WaitReason != nil && !ended(b.Status) {
		return clean(b.Status) + " (" + clean(*b.WaitReason) + ")"
	}
	return clean(b.Status)
}

// Bounds of a batch's priority, as the API has them.
const minPriority, maxPriority = -100, 100

func checkPriority(name string, n int) error {
	if n < minPriority || n > maxPriority {
		return fmt.Errorf("%s %d must be from %d to %d", name, n, minPriority, maxPriority)
	}
	return nil
}

func batchPriority() *cobra.Command {
	cmd := &cobra.Command{
		Use: "priority <id> <n>", Short: "Sets the priority of a batch, -100 to 100; larger ones start first", Args: ids(cobra.ExactArgs(2)),
		Example: "  tidegate batch priority batch_0123456789abcdef0123456789abcdef 10\n" +
			"  tidegate batch priority batch_0123456789abcdef0123456789abcdef -- -5",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return fmt.Errorf("priority %q must be an integer from %d to %d", args[1], minPriority, maxPriority)
		}
		if err := checkPriority("priority", n); err != nil {
			return err
		}
		b, err := s.SetPriority(ctx, args[0], n)
		if err != nil {
			return fmt.Errorf("changing the priority of %s: %w", args[0], err)
		}
		return s.print(b, func(w io.Writer) { fmt.Fprintln(w, clean(b.ID), "priority", b.Priority) })
	})
	return cmd
}

func batchRetry() *cobra.Command {
	cmd := &cobra.Command{
		Use: "retry <id>", Short: "Makes a new batch of the lines that failed or never ran", Args: ids(cobra.ExactArgs(1)),
		Long: "Makes a new batch of those lines of a batch that stand in its error file, and prints its id.\n" +
			"With --wait the status is 0 when every line of the new batch has completed, 2 when not, 1 for an error.",
		Example: "  tidegate batch retry batch_0123456789abcdef0123456789abcdef --wait",
	}
	wait := cmd.Flags().Bool("wait", false, "wait until the new batch has ended")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		b, err := s.RetryFailed(ctx, args[0])
		if err != nil {
			return fmt.Errorf("retrying %s: %w", args[0], err)
		}
		if !*wait {
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, clean(b.ID)) })
		}
		if b, err = s.wait(ctx, b.ID); err != nil {
			return s.goesOn(ctx, b.ID, err)
		}
		if err := s.print(b, func(w io.Writer) { describe(w, b) }); err != nil {
			return err
		}
		return complete(b)
	})
	return cmd
}

func batchEstimate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "estimate <id>", Short: "Predicts when a batch ends", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate batch estimate batch_0123456789abcdef0123456789abcdef",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		b, err := s.Estimate(ctx, args[0])
		if err != nil {
			return err
		}
		return s.print(b, func(w io.Writer) { fmt.Fprintln(w, predict(b)) })
	})
	return cmd
}

// predict writes an estimate in one line.
func predict(b client.EstimatedBatch) string {
	e := b.Estimate
	c := b.RequestCounts
	text := fmt.Sprintf("%s: %d of %d lines", batchState(b.Batch), c.Completed+c.Failed, c.Total)
	if e.LinesPerMinute != nil {
		text += fmt.Sprintf(", %.1f lines a minute", *e.LinesPerMinute)
	}
	switch {
	case ended(b.Status):
		return text
	case e.RemainingSeconds == nil || e.FinishesAt == nil:
		return text + ", the remaining time is not known"
	}
	text += fmt.Sprintf(", %s left, ends at %s", time.Duration(*e.RemainingSeconds)*time.Second, time.Unix(*e.FinishesAt, 0).Format(time.DateTime))
	if e.MissesDeadline != nil && *e.MissesDeadline {
		text += ", after its deadline"
	}
	return text
}
