package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func batchDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete <id...> | --all", Short: "Deletes batches and their results", Args: ids(cobra.ArbitraryArgs),
		Example: "  tidegate batch delete batch_0123456789abcdef0123456789abcdef --input\n  tidegate batch delete --all --yes",
	}
	all := cmd.Flags().Bool("all", false, "all batches; those that run are cancelled first")
	input := cmd.Flags().Bool("input", false, "their input files too, unless another batch uses them")
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		d := deletion{
			all: *all, yes: *yes, one: "batch and its results", many: "batches and their results",
			list: func(visit func(id string) bool) error {
				return s.Batches(ctx, func(b openai.Batch) bool { return visit(b.ID) })
			},
			delete: func(id string) (openai.Deleted, error) {
				if *all {
					if err := s.stopBatch(ctx, id); err != nil {
						return openai.Deleted{}, err
					}
				}
				return s.DeleteBatch(ctx, id, *input)
			},
		}
		return s.delete(ctx, args, d)
	})
	return cmd
}

// stopBatch cancels a batch that runs and waits until it has ended.
func (s *session) stopBatch(ctx context.Context, id string) error {
	b, err := s.Batch(ctx, id)
	if err != nil || ended(b.Status) {
		return err
	}
	if _, err := s.Cancel(ctx, id); err != nil && !isStatus(err, http.StatusConflict) { // it has just ended
		return err
	}
	_, err = s.wait(ctx, id)
	return err
}

// deletion is a command that deletes objects.
type deletion struct {
	all, yes  bool
	one, many string // name of the deleted objects
	list      func(visit func(id string) bool) error
	delete    func(id string) (openai.Deleted, error)
}

// delete deletes the named objects, or all, after confirmation.
func (s *session) delete(ctx context.Context, ids []string, d deletion) error {
	if d.all == (len(ids) > 0) {
		return errors.New("name ids, or give --all")
	}
	if d.all {
		if err := d.list(func(id string) bool { ids = append(ids, id); return true }); err != nil {
			return err
		}
		if len(ids) == 0 {
			fmt.Fprintln(s.err, "there is nothing to delete")
			return nil
		}
	}
	if err := s.confirm(ctx, d.yes, fmt.Sprintf("Delete %s?", count(len(ids), d.one, d.many))); err != nil {
		return err
	}
	return s.each(ctx, ids, func(id string) error {
		deleted, err := d.delete(id)
		if d.all && isStatus(err, http.StatusNotFound) {
			return nil // it has gone since it was listed
		}
		if err != nil {
			return fmt.Errorf("deleting %s: %w", id, err)
		}
		return s.print(deleted, func(w io.Writer) { fmt.Fprintln(w, "deleted", id) })
	})
}

func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && e.Status == status
}
