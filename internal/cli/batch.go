package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/openai"
)

// BatchCommand sets up `tidegate batch`.
func BatchCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate batch submit batch.jsonl --wait --output results.jsonl\n  tidegate batch list"
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(batchSubmit(), batchList(), batchShow(), batchWait(), batchCancel(), batchDelete(), batchResults(),
		batchLines(), batchLine(), batchEstimate(), batchPause(), batchResume(), batchPriority(), batchRetry(), batchReceipt(), batchVerify())
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
	cmd := &cobra.Command{
		Use: "list", Short: "Lists batches, newest first", Args: cobra.NoArgs,
		Example: "  tidegate batch list --status in_progress\n  tidegate batch list --limit 0 --json",
	}
	status := cmd.Flags().String("status", "", "only batches in this state: "+strings.Join(statuses, ", "))
	limit := cmd.Flags().Int("limit", 20, "largest number of batches; 0 for all")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		if err := checkLimit(*limit); err != nil {
			return err
		}
		if *status != "" {
			if err := oneOf("status", *status, statuses); err != nil {
				return err
			}
		}
		var found []openai.Batch
		if err := s.Batches(ctx, func(b openai.Batch) bool {
			if *status == "" || b.Status == *status {
				found = append(found, b)
			}
			return len(found) != *limit || *limit == 0
		}); err != nil {
			return err
		}
		var names map[string]string
		if !s.json {
			var err error
			if names, err = s.inputNames(ctx, found); err != nil {
				return err
			}
		}
		l := s.newList("ID\tSTATUS\tLINES\tCOMPLETED\tFAILED\tMODEL\tAGE\tFILE", 0)
		for _, b := range found {
			c, name := b.RequestCounts, names[b.InputFileID]
			l.add(b, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", clean(b.ID), batchState(b), c.Total, c.Completed, c.Failed, orDash(b.Model), age(b.CreatedAt, time.Now()), orDash(&name))
		}
		return l.end(nil)
	})
	return cmd
}

// inputNames returns the names of the batches' input files by file id. A file
// that was deleted has none.
func (s *session) inputNames(ctx context.Context, of []openai.Batch) (map[string]string, error) {
	missing := make(map[string]bool, len(of))
	for _, b := range of {
		missing[b.InputFileID] = true
	}
	names := make(map[string]string, len(of))
	if len(missing) == 0 {
		return names, nil
	}
	// Inputs are about as new as their batches, so the listing ends early.
	err := s.Files(ctx, openai.PurposeBatch, func(f openai.File) bool {
		if missing[f.ID] {
			names[f.ID] = f.Filename
			delete(missing, f.ID)
		}
		return len(missing) > 0
	})
	return names, err
}

func batchShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show <id>", Short: "Shows a batch", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate batch show batch_0123456789abcdef0123456789abcdef",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		b, err := s.Batch(ctx, args[0])
		if err != nil {
			return err
		}
		return s.print(b, func(w io.Writer) { describe(w, b) })
	})
	return cmd
}

func batchResults() *cobra.Command {
	cmd := &cobra.Command{
		Use: "results <id>", Short: "Writes the results of a batch", Args: ids(cobra.ExactArgs(1)),
		Long: "Writes the results of a batch that has ended or, with --so-far, those that are durable now.",
		Example: "  tidegate batch results batch_0123456789abcdef0123456789abcdef --output results.jsonl\n" +
			"  tidegate batch results batch_0123456789abcdef0123456789abcdef --so-far | head",
	}
	var r results
	cmd.Flags().StringVar(&r.output, "output", toStdout, "file for the results, - for standard output")
	cmd.Flags().StringVar(&r.errs, "errors", "", "file for the errors (default: beside --output, named .errors.jsonl)")
	soFar := cmd.Flags().Bool("so-far", false, "the results that are there now, also of a batch that runs")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		if err := r.check(); err != nil {
			return err
		}
		b, err := s.Batch(ctx, args[0])
		if err != nil {
			return err
		}
		switch {
		case b.Status == "failed":
			return complete(b)
		case *soFar && !ended(b.Status):
			return s.saveSoFar(ctx, b, r)
		case !ended(b.Status):
			return fmt.Errorf("%s is %s: it has no results yet; --so-far writes the results so far", b.ID, batchState(b))
		default:
			return s.save(ctx, b, r)
		}
	})
	return cmd
}

// list is a table of objects, or JSON.
type list struct {
	s        *session
	head     string // "" once it is written
	table    *tabwriter.Writer
	n, limit int
	err      error // of printing
}

// newList returns a table of at most limit rows, 0 for no limit. Its head is written with
// the first row or at the end of a successful listing, so that an error is printed without
// it.
func (s *session) newList(head string, limit int) *list {
	l := &list{s: s, table: tabwriter.NewWriter(terminal{s.out}, 0, 0, 2, ' ', 0), limit: limit}
	if !s.json {
		l.head = head
	}
	return l
}

func (l *list) writeHead() {
	if l.head != "" {
		fmt.Fprintln(l.table, l.head)
		l.head = ""
	}
}

// add adds an object and reports whether more are wanted.
func (l *list) add(object any, format string, args ...any) bool {
	l.writeHead()
	l.err = l.s.print(object, func(io.Writer) { fmt.Fprintf(l.table, format, args...) })
	l.n++
	return l.err == nil && l.n != l.limit
}

// end writes the table and returns the first error.
func (l *list) end(err error) error {
	if err == nil {
		l.writeHead()
	}
	flushed := l.table.Flush()
	for _, e := range []error{err, l.err, flushed} {
		if e != nil {
			return e
		}
	}
	return nil
}
