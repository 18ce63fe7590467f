package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// ContentsCommand sets up `tidegate contents`.
func ContentsCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate contents adopt"
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(contentsAdopt())
}

func contentsAdopt() *cobra.Command {
	cmd := &cobra.Command{
		Use: "adopt", Short: "Takes the contents that are there for those of the database", Args: cobra.NoArgs,
		Long: "A gateway that finds contents of another database, or a database of other contents,\n" +
			"keeps files and batches closed and says so in /health. First mount, restore or\n" +
			"configure what is missing: the gateway opens by itself then. Where the two do belong\n" +
			"together, this opens them. Contents that the database does not know are quarantined.",
		Example: "  tidegate contents adopt",
	}
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		const question = "Take the contents that are there for those of the database?"
		if err := s.ask(ctx, *yes, question, errNotAdopted); err != nil {
			return err
		}
		if err := s.AdoptContents(ctx); err != nil {
			return fmt.Errorf("adopting contents: %w", err)
		}
		return s.print(map[string]any{"object": "contents", "adopted": true}, func(w io.Writer) {
			fmt.Fprintln(w, "adopted; files and batches open in a moment, see tidegate doctor")
		})
	})
	return cmd
}
