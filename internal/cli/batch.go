package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/openai"
)

// BatchCommand sets up `tidegate batch`.
func BatchCommand(cmd *cobra.Command) {
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(batchSubmit(), batchList(), batchShow(), batchWait(), batchCancel(), batchDelete(), batchResults())
}

// statuses are the states of a batch, in their order.
var statuses = []string{"validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"}

func ended(status string) bool {
	switch status {
	case "completed", "failed", "expired", "cancelled":
		return true
	default:
		return false
	}
}

func batchList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists batches, newest first", Args: cobra.NoArgs}
	status := cmd.Flags().String("status", "", "only those in this state")
	limit := cmd.Flags().Int("limit", 20, "at most so many; 0 for all")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		if err := checkLimit(*limit); err != nil {
			return err
		}
		if *status != "" {
			if err := oneOf("status", *status, statuses); err != nil {
				return err
			}
		}
		l := s.newList("ID\tSTATUS\tLINES\tCOMPLETED\tFAILED\tMODEL\tAGE", *limit)
		return l.end(s.Batches(ctx, func(b openai.Batch) bool {
			if *status != "" && b.Status != *status {
				return true
			}
			c := b.RequestCounts
			return l.add(b, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", clean(b.ID), clean(b.Status), c.Total, c.Completed, c.Failed, orDash(b.Model), age(b.CreatedAt, time.Now()))
		}))
	})
	return cmd
}

func batchShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show <id>", Short: "Shows a batch", Args: ids(cobra.ExactArgs(1))}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		b, err := s.Batch(ctx, args[0])
		if err != nil {
			return err
		}
		return s.print(b, func(w io.Writer) { describe(w, b) })
	})
	return cmd
}

func batchCancel() *cobra.Command {
	cmd := &cobra.Command{Use: "cancel <id...>", Short: "Cancels batches; what finished is kept", Args: ids(cobra.MinimumNArgs(1))}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		return s.each(ctx, args, func(id string) error {
			b, err := s.Cancel(ctx, id)
			if err != nil {
				return fmt.Errorf("cancelling %s: %w", id, err)
			}
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID, b.Status) })
		})
	})
	return cmd
}

func batchResults() *cobra.Command {
	cmd := &cobra.Command{Use: "results <id>", Short: "Writes the results of a batch that has ended", Args: ids(cobra.ExactArgs(1))}
	var r results
	cmd.Flags().StringVar(&r.output, "output", toStdout, "file for the results, - for standard output")
	cmd.Flags().StringVar(&r.errs, "errors", "", "file for the errors (default: beside --output, named .errors.jsonl)")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		if err := r.check(); err != nil {
			return err
		}
		b, err := s.Batch(ctx, args[0])
		if err != nil {
			return err
		}
		switch {
		case !ended(b.Status):
			return fmt.Errorf("%s is %s: it has no results yet", b.ID, clean(b.Status))
		case b.Status == "failed":
			return complete(b)
		default:
			return s.save(ctx, b, r)
		}
	})
	return cmd
}

// list is a table of objects, or JSON.
type list struct {
	s        *session
	table    *tabwriter.Writer
	n, limit int
	err      error // of printing
}

func (s *session) newList(head string, limit int) *list {
	l := &list{s: s, table: tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0), limit: limit}
	if !s.json {
		fmt.Fprintln(l.table, head)
	}
	return l
}

// add adds an object and tells whether more are wanted.
func (l *list) add(object any, format string, args ...any) bool {
	l.err = l.s.print(object, func(io.Writer) { fmt.Fprintf(l.table, format, args...) })
	l.n++
	return l.err == nil && l.n != l.limit
}

// end writes the table and gives the first error.
func (l *list) end(err error) error {
	flushed := l.table.Flush()
	for _, e := range []error{err, l.err, flushed} {
		if e != nil {
			return e
		}
	}
	return nil
}
