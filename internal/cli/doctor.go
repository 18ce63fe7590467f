package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
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
	cmd.Example = "  tidegate doctor\n  tidegate doctor --json | jq '.checks[] | select(.verdict != \"ok\")'"
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

// printReport writes a line for each finding, and its remedy below. Checks with the same
// finding share a line, because a pool of 24 servers would hide the others.
func printReport(w io.Writer, r client.Report) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range groupChecks(r.Checks) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", clean(g.Verdict), clean(g.Area), clean(g.name()), clean(g.Found))
		if g.Remedy != "" {
			fmt.Fprintf(table, "\t\t\t→ %s\n", clean(g.Remedy))
		}
	}
	_ = table.Flush() // w reports its errors
}

// checkGroup is several checks with one finding.
type checkGroup struct {
	client.Check
	names []string
}

// namesShown is the number of names of a group that are printed.
const namesShown = 3

func (g checkGroup) name() string {
	if len(g.names) <= namesShown {
		return strings.Join(g.names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(g.names[:namesShown-1], ", "), len(g.names)-namesShown+1)
}

// groupChecks joins checks that differ only in their name, at the position of the first.
func groupChecks(checks []client.Check) []checkGroup {
	var groups []checkGroup
	at := make(map[client.Check]int)
	for _, c := range checks {
		name := c.Name
		c.Name = ""
		i, seen := at[c]
		if !seen {
			i = len(groups)
			at[c] = i
			groups = append(groups, checkGroup{Check: c})
		}
		groups[i].names = append(groups[i].names, name)
	}
	return groups
}
