package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// DoctorCommand sets up `tidegate doctor`.
func DoctorCommand(cmd *cobra.Command) {
	cmd.Long = `Asks a running gateway to look at its store, queue, files, disk, clock, servers and
limits, and prints what it found and what to do about it.
The status is 0 when nothing failed, 2 when something did, 1 for an error.`
	cmd.Args = cobra.NoArgs
	addFlags(cmd)
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		report, err := s.Doctor(ctx)
		if err != nil {
			return err
		}
		if err := s.print(report, func(w io.Writer) { printReport(w, report) }); err != nil {
			return err
		}
		failed := 0
		for _, c := range report.Checks {
			if c.Verdict == "failed" {
				failed++
			}
		}
		switch failed {
		case 0:
			return nil
		case 1:
			return &ExitError{ExitIncomplete, errors.New("one check failed")}
		default:
			return &ExitError{ExitIncomplete, fmt.Errorf("%d checks failed", failed)}
		}
	})
}

// printReport writes a line for each check, and its remedy below.
func printReport(w io.Writer, r client.Report) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", clean(c.Verdict), clean(c.Area), clean(c.Name), clean(c.Found))
		if c.Remedy != "" {
			fmt.Fprintf(table, "\t\t\t→ %s\n", clean(c.Remedy))
		}
	}
	_ = table.Flush() // w tells its own errors
}
