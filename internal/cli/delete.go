package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/openai"
)

// deletion is what a delete command deletes.
type deletion struct {
	short string // of the command
	what  string // is deleted, for the question
	all   string // what --all does
	list  func(s *session, add func(id string)) error
	// remove deletes one; all tells that it was not named.
	remove func(s *session, id string, all bool) (openai.Deleted, error)
}

// deleteCommand makes the command that deletes what is named, or all.
func deleteCommand(d deletion) *cobra.Command {
	cmd := &cobra.Command{Use: "delete <id...> | --all", Short: d.short, Args: cobra.ArbitraryArgs}
	all := cmd.Flags().Bool("all", false, d.all)
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		if *all == (len(ids) > 0) {
			return errors.New("name some, or give --all")
		}
		if *all {
			if err := d.list(s, func(id string) { ids = append(ids, id) }); err != nil {
				return err
			}
		}
		if len(ids) == 0 {
			return nil
		}
		if err := s.confirm(*yes, fmt.Sprintf("Delete %d %s?", len(ids), d.what)); err != nil {
			return err
		}
		return s.deleteEach(ids, func(id string) (openai.Deleted, error) { return d.remove(s, id, *all) })
	}
	return cmd
}

// deleteEach deletes one after the other. One that cannot be deleted keeps
// nobody from the others.
func (s *session) deleteEach(ids []string, remove func(id string) (openai.Deleted, error)) error {
	var failed error
	for _, id := range ids {
		deleted, err := remove(id)
		if err == nil {
			err = s.print(deleted, func(w io.Writer) { fmt.Fprintln(w, "deleted", id) })
		}
		if s.ctx.Err() != nil {
			return errors.Join(failed, err)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("deleting %s: %w", id, err))
		}
	}
	return failed
}
