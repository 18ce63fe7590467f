package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

// BatchCommand sets up `tidegate batch`.
func BatchCommand(cmd *cobra.Command) {
	addFlags(cmd)
	cmd.AddCommand(batchSubmit(), batchList(), batchShow(), batchWait(), batchCancel(), batchDelete(), batchResults())
}

func batchSubmit() *cobra.Command {
	cmd := &cobra.Command{Use: "submit <file>", Short: "Uploads a file of requests and makes a batch of it", Args: cobra.ExactArgs(1)}
	f := cmd.Flags()
	endpoint := f.String("endpoint", "", "path that the requests are for (default: the url of the first line)")
	window := f.String("window", "24h", "time to complete in: 24h, or any duration from 1m to 720h")
	metadata := f.StringToString("metadata", nil, "key=value to keep with the batch; may be repeated")
	wait := f.Bool("wait", false, "wait until the batch has ended")
	output := f.String("output", "", "file for the results; implies --wait")
	errs := f.String("errors", "", "file for the errors (default: beside --output, named .errors.jsonl)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		b, err := s.submit(s.ctx, args[0], client.CreateBatch{Endpoint: *endpoint, CompletionWindow: *window, Metadata: *metadata})
		if err != nil {
			return err
		}
		if !*wait && *output == "" {
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID) })
		}
		if b, err = s.wait(s.ctx, b.ID); err != nil {
			return err
		}
		if *output != "" {
			if err := s.save(s.ctx, b, *output, *errs); err != nil {
				return err
			}
		}
		if err := s.print(b, func(w io.Writer) { describe(w, b) }); err != nil {
			return err
		}
		return complete(b)
	}
	return cmd
}

// submit uploads a file and makes a batch of it.
func (s *session) submit(ctx context.Context, path string, b client.CreateBatch) (openai.Batch, error) {
	in, err := s.open(path)
	if err != nil {
		return openai.Batch{}, err
	}
	defer in.close()
	if b.Endpoint == "" {
		if b.Endpoint, err = in.endpoint(); err != nil {
			return openai.Batch{}, err
		}
	}
	f, err := s.uploadInput(ctx, in, openai.PurposeBatch)
	if err != nil {
		return openai.Batch{}, err
	}
	b.InputFileID = f.ID
	created, err := s.Create(ctx, b)
	if err != nil {
		return openai.Batch{}, fmt.Errorf("creating a batch of %s: %w", f.ID, err)
	}
	return created, nil
}

// pollBatch is how often a batch that is waited for is looked at.
const pollBatch = 250 * time.Millisecond

// wait waits until a batch has ended and shows how far it is.
func (s *session) wait(ctx context.Context, id string) (openai.Batch, error) {
	bar := newProgress(s.err)
	defer bar.end()
	for {
		b, err := s.Batch(ctx, id)
		if err != nil && ctx.Err() == nil {
			return b, err
		}
		if err == nil {
			c := b.RequestCounts
			bar.show(state{label: b.ID + " " + b.Status, done: c.Completed + c.Failed, failed: c.Failed, total: c.Total, unit: "lines"})
			if ended(b.Status) {
				return b, nil
			}
		}
		timer := time.NewTimer(pollBatch)
		select {
		case <-ctx.Done():
			timer.Stop()
			return b, &ExitError{exitInterrupted, fmt.Errorf("not waiting any longer; %s goes on, and `tidegate batch wait %s` waits for it again", id, id)}
		case <-timer.C:
		}
	}
}

var (
	running = []string{"validating", "in_progress", "finalizing", "cancelling"}
	over    = []string{"completed", "failed", "expired", "cancelled"}
)

func ended(status string) bool { return slices.Contains(over, status) }

// complete is an error unless every line of a batch has completed.
func complete(b openai.Batch) error {
	c := b.RequestCounts
	if b.Status == "completed" && c.Completed == c.Total {
		return nil
	}
	return &ExitError{ExitIncomplete, fmt.Errorf("%s is %s: %d of %d lines completed, %d failed", b.ID, b.Status, c.Completed, c.Total, c.Failed)}
}

// save writes results and errors of a batch to files.
func (s *session) save(ctx context.Context, b openai.Batch, output, errs string) error {
	if errs == "" {
		errs = strings.TrimSuffix(output, filepath.Ext(output)) + ".errors.jsonl"
	}
	for _, file := range []struct {
		id   *string
		path string
	}{{b.OutputFileID, output}, {b.ErrorFileID, errs}} {
		if file.id == nil {
			continue
		}
		if err := s.download(ctx, *file.id, file.path); err != nil {
			return err
		}
		if !s.json {
			fmt.Fprintln(s.err, "wrote", file.path)
		}
	}
	return nil
}

// download writes a file in one piece or not at all.
func (s *session) download(ctx context.Context, id, path string) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(tmp, 1<<20)
	if _, err := s.Download(ctx, id, buffered); err != nil {
		return err
	}
	if err := errors.Join(buffered.Flush(), tmp.Sync(), tmp.Chmod(0o644)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return tmp.Close()
}

func batchList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists batches, newest first", Args: cobra.NoArgs}
	status := cmd.Flags().String("status", "", "only those in this state")
	limit := cmd.Flags().Int("limit", 20, "at most so many; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := newSession(cmd)
		if err == nil {
			err = oneOf("--status", *status, append(running, over...)...)
		}
		if err == nil {
			err = notNegative("--limit", *limit)
		}
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		if !s.json {
			fmt.Fprintln(table, "ID\tSTATUS\tLINES\tCOMPLETED\tFAILED\tMODEL\tAGE")
		}
		n := 0
		err = errors.Join(s.Batches(s.ctx, func(b openai.Batch) bool {
			if *status != "" && b.Status != *status {
				return true
			}
			c := b.RequestCounts
			err = s.print(b, func(io.Writer) {
				fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", b.ID, b.Status, c.Total, c.Completed, c.Failed, orDash(b.Model), age(b.CreatedAt))
			})
			n++
			return err == nil && n != *limit
		}), err)
		return errors.Join(err, table.Flush())
	}
	return cmd
}

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}

func age(unix int64) string {
	d := time.Since(time.Unix(unix, 0))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func batchShow() *cobra.Command {
	cmd := &cobra.Command{Use: "show <id>", Short: "Shows a batch", Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		b, err := s.Batch(s.ctx, args[0])
		if err != nil {
			return err
		}
		return s.print(b, func(w io.Writer) { describe(w, b) })
	}
	return cmd
}

// describe writes all there is to know of a batch.
func describe(w io.Writer, b openai.Batch) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	at := func(name string, unix *int64) {
		if unix != nil {
			row(name, "%s", time.Unix(*unix, 0).Format(time.DateTime))
		}
	}
	c := b.RequestCounts
	row("id", "%s", b.ID)
	row("status", "%s", b.Status)
	row("endpoint", "%s", b.Endpoint)
	row("model", "%s", orDash(b.Model))
	row("lines", "%d: %d completed, %d failed", c.Total, c.Completed, c.Failed)
	row("tokens", "%d in (%d cached), %d out", b.Usage.InputTokens, b.Usage.InputTokensDetails.CachedTokens, b.Usage.OutputTokens)
	row("input", "%s", b.InputFileID)
	row("output", "%s", orDash(b.OutputFileID))
	row("errors", "%s", orDash(b.ErrorFileID))
	at("created", &b.CreatedAt)
	at("in progress", b.InProgressAt)
	at("finalizing", b.FinalizingAt)
	at("completed", b.CompletedAt)
	at("failed", b.FailedAt)
	at("cancelling", b.CancellingAt)
	at("cancelled", b.CancelledAt)
	at("expired", b.ExpiredAt)
	at("expires", b.ExpiresAt)
	for key, value := range b.Metadata {
		row("metadata", "%s=%s", key, value)
	}
	if b.Errors != nil {
		for _, e := range b.Errors.Data {
			where := ""
			if e.Line != nil {
				where = fmt.Sprintf("line %d: ", *e.Line)
			}
			row("error", "%s%s: %s", where, e.Code, e.Message)
		}
	}
	_ = table.Flush() // w tells its own errors
}

func batchWait() *cobra.Command {
	cmd := &cobra.Command{
		Use: "wait <id...>", Short: "Waits until batches have ended", Args: cobra.MinimumNArgs(1),
		Long: "Waits until batches have ended. The status is 0 when every line of each has completed, 2 when not, 1 for an error.",
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		var incomplete error
		for _, id := range args {
			b, err := s.wait(s.ctx, id)
			if err != nil {
				return err
			}
			if err := s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID, b.Status) }); err != nil {
				return err
			}
			incomplete = errors.Join(incomplete, complete(b))
		}
		if incomplete != nil {
			return &ExitError{ExitIncomplete, incomplete}
		}
		return nil
	}
	return cmd
}

func batchCancel() *cobra.Command {
	cmd := &cobra.Command{Use: "cancel <id...>", Short: "Cancels batches; what finished is kept", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		for _, id := range args {
			b, err := s.Cancel(s.ctx, id)
			if err != nil {
				return err
			}
			if err := s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID, b.Status) }); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func batchDelete() *cobra.Command {
	var input *bool
	cmd := deleteCommand(deletion{
		short: "Deletes batches and their results", what: "batches and their results", all: "all batches; those that run are cancelled first",
		list: func(s *session, add func(string)) error {
			return s.Batches(s.ctx, func(b openai.Batch) bool { add(b.ID); return true })
		},
		remove: func(s *session, id string, all bool) (openai.Deleted, error) {
			if all {
				if err := s.stopBatch(s.ctx, id); err != nil {
					return openai.Deleted{}, err
				}
			}
			return s.DeleteBatch(s.ctx, id, *input)
		},
	})
	input = cmd.Flags().Bool("input", false, "their input files too, unless another batch uses them")
	return cmd
}

// stopBatch cancels a batch that runs and waits until it has ended.
func (s *session) stopBatch(ctx context.Context, id string) error {
	b, err := s.Batch(ctx, id)
	if err != nil || ended(b.Status) {
		return err
	}
	if _, err := s.Cancel(ctx, id); err != nil {
		if e, ok := errors.AsType[*client.Error](err); !ok || e.Status != 409 { // it has just ended
			return err
		}
	}
	_, err = s.wait(ctx, id)
	return err
}

func batchResults() *cobra.Command {
	cmd := &cobra.Command{Use: "results <id>", Short: "Writes the results of a batch that has ended", Args: cobra.ExactArgs(1)}
	output := cmd.Flags().String("output", "", "file for the results (default: standard output)")
	errs := cmd.Flags().String("errors", "", "file for the errors (default: beside --output, named .errors.jsonl)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		b, err := s.Batch(s.ctx, args[0])
		if err != nil {
			return err
		}
		if !ended(b.Status) {
			return fmt.Errorf("%s is %s: it has no results yet", b.ID, b.Status)
		}
		if *output != "" {
			return s.save(s.ctx, b, *output, *errs)
		}
		if b.OutputFileID != nil {
			if _, err := s.Download(s.ctx, *b.OutputFileID, s.out); err != nil {
				return err
			}
		}
		if b.ErrorFileID != nil && *errs != "" {
			return s.download(s.ctx, *b.ErrorFileID, *errs)
		}
		return nil
	}
	return cmd
}
