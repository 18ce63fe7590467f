package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// AuditCommand sets up `tidegate audit`.
func AuditCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate audit\n  tidegate audit --since 2027-01-01 --until 2027-02-01 --limit 0 --json"
	cmd.Args = cobra.NoArgs
	addFlags(cmd)
	f := cmd.Flags()
	since := f.String("since", "", "only entries from this time on: 2027-01-31 or 2027-01-31T12:00:00Z")
	until := f.String("until", "", "only entries before this time")
	limit := f.Int("limit", 50, "number of entries, 0 for all")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		if err := checkLimit(*limit); err != nil {
			return err
		}
		l := s.newList("TIME\tACTION\tOUTCOME\tTARGET\tTENANT\tKEY\tFROM\tVIA\tREQUEST\tDETAIL", *limit)
		err := s.Audit(ctx, *since, *until, func(e client.AuditEntry) bool {
			at := time.Unix(e.CreatedAt, 0).UTC().Format(time.RFC3339)
			return l.add(e, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", at, dashIfEmpty(e.Action), dashIfEmpty(e.Outcome), dashIfEmpty(e.Target), dashIfEmpty(e.Tenant), keyOf(e),
				dashIfEmpty(e.Address), dashIfEmpty(e.Via), dashIfEmpty(e.RequestID), dashIfEmpty(e.Detail))
		})
		return l.end(err)
	})
}

// keyOf names the key of a client.
func keyOf(e client.AuditEntry) string {
	if e.KeyID == nil {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", clean(*e.KeyID), orDash(e.KeyName))
}

func dashIfEmpty(text string) string { return orDash(&text) }
