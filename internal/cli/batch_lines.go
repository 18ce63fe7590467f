package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// lineStatuses are the states of a line.
var lineStatuses = []string{"pending", "completed", "failed"}

func batchLines() *cobra.Command {
	cmd := &cobra.Command{
		Use: "lines <id>", Short: "Lists the lines of a batch and their outcome, also while it runs", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate batch lines batch_0123456789abcdef0123456789abcdef --status failed\n" +
			"  tidegate batch lines batch_0123456789abcdef0123456789abcdef --limit 0 --json",
	}
	status := cmd.Flags().String("status", "", "only lines in this state: pending, completed or failed")
	limit := cmd.Flags().Int("limit", 20, "largest number of lines; 0 for all")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		if err := checkLimit(*limit); err != nil {
			return err
		}
		if *status != "" {
			if err := oneOf("status", *status, lineStatuses); err != nil {
				return err
			}
		}
		l := s.newList("LINE\tCUSTOM ID\tSTATUS\tCODE\tATTEMPTS\tTIME\tUPSTREAM\tERROR", *limit)
		return l.end(s.Lines(ctx, args[0], *status, func(line client.Line) bool {
			return l.add(line, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", line.Line, clean(line.CustomID), clean(line.Status),
				number(line.StatusCode), number(line.Attempts), lineTime(line.DurationMS), orDash(line.Upstream), orDash(line.Error))
		}))
	})
	return cmd
}

func batchLine() *cobra.Command {
	cmd := &cobra.Command{
		Use: "line <id> <n>", Short: "Shows one line of a batch with its request and its result", Args: ids(cobra.ExactArgs(2)),
		Example: "  tidegate batch line batch_0123456789abcdef0123456789abcdef 17",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return fmt.Errorf("line %q must be a number from 1", args[1])
		}
		line, err := s.Line(ctx, args[0], n)
		if err != nil {
			return err
		}
		return s.print(line, func(w io.Writer) { describeLine(w, line) })
	})
	return cmd
}

func describeLine(w io.Writer, l client.LineDetail) {
	fmt.Fprintf(w, "line %d, custom_id %s: %s", l.Line.Line, clean(l.CustomID), clean(l.Status))
	if l.StatusCode != nil {
		fmt.Fprintf(w, " with %d", *l.StatusCode)
	}
	if l.Attempts != nil {
		fmt.Fprintf(w, " after %s", count(*l.Attempts, "attempt", "attempts"))
	}
	if l.DurationMS != nil {
		fmt.Fprintf(w, ", %s", lineTime(l.DurationMS))
	}
	if l.Upstream != nil {
		fmt.Fprintf(w, " on %s", clean(*l.Upstream))
	}
	fmt.Fprintln(w)
	if l.Error != nil {
		fmt.Fprintf(w, "error: %s\n", clean(*l.Error))
	}
	printJSON(w, "input", l.Input)
	printJSON(w, "result", l.Result)
}

// printJSON writes a value of a line, indented. Control characters are escaped
// in JSON; what is no JSON is cleaned.
func printJSON(w io.Writer, name string, value json.RawMessage) {
	if len(value) == 0 || string(value) == "null" {
		fmt.Fprintf(w, "%s: not there\n", name)
		return
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, value, "  ", "  "); err != nil {
		fmt.Fprintf(w, "%s:\n  %s\n", name, clean(string(value)))
		return
	}
	fmt.Fprintf(w, "%s:\n  %s\n", name, cleanLines(indented.String()))
}

func number(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func lineTime(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return (time.Duration(*ms) * time.Millisecond).String()
}
