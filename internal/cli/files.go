package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/openai"
)

// FilesCommand sets up `tidegate files`.
func FilesCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate files list\n  tidegate files upload batch.jsonl"
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(filesList(), filesUpload(), filesDownload(), filesDelete())
}

func filesList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "Lists files, newest first", Args: cobra.NoArgs,
		Example: "  tidegate files list --purpose batch_output",
	}
	purpose := cmd.Flags().String("purpose", "", "only those with this purpose")
	limit := cmd.Flags().Int("limit", 0, "at most so many; 0 for all")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		if err := checkLimit(*limit); err != nil {
			return err
		}
		if *purpose != "" {
			if err := oneOf("purpose", *purpose, slices.Concat(openai.UploadPurposes, []string{openai.PurposeBatchOutput})); err != nil {
				return err
			}
		}
		l := s.newList("ID\tPURPOSE\tSIZE\tAGE\tNAME", *limit)
		return l.end(s.Files(ctx, *purpose, func(f openai.File) bool {
			return l.add(f, "%s\t%s\t%s\t%s\t%q\n", clean(f.ID), clean(f.Purpose), size(f.Bytes), age(f.CreatedAt, time.Now()), f.Filename)
		}))
	})
	return cmd
}

func filesUpload() *cobra.Command {
	cmd := &cobra.Command{
		Use: "upload <file...>", Short: "Uploads files, - for standard input", Args: cobra.MinimumNArgs(1),
		Example: "  tidegate files upload batch.jsonl other.jsonl.gz",
	}
	purpose := cmd.Flags().String("purpose", openai.PurposeBatch, "what they are for")
	cmd.RunE = run(func(ctx context.Context, s *session, paths []string) error {
		if err := oneOf("purpose", *purpose, openai.UploadPurposes); err != nil {
			return err
		}
		return s.each(ctx, paths, func(path string) (err error) {
			src, err := s.open(ctx, path, *purpose)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, src.close()) }()
			f, err := s.upload(ctx, src)
			if err != nil {
				return err
			}
			return s.print(f, func(w io.Writer) { fmt.Fprintln(w, f.ID) })
		})
	})
	return cmd
}

func filesDownload() *cobra.Command {
	cmd := &cobra.Command{
		Use: "download <id>", Short: "Writes the content of a file", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate files download file-0123456789abcdef --output results.jsonl",
	}
	output := cmd.Flags().String("output", toStdout, "where to, - for standard output")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		if err := checkOutput(*output); err != nil {
			return err
		}
		return s.write(*output, func(w io.Writer) error {
			_, err := s.Download(ctx, args[0], w)
			return err
		})
	})
	return cmd
}

func filesDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete <id...> | --all", Short: "Deletes files", Args: ids(cobra.ArbitraryArgs),
		Example: "  tidegate files delete file-0123456789abcdef",
	}
	all := cmd.Flags().Bool("all", false, "all files, results too")
	yes := cmd.Flags().Bool("yes", false, "do not ask")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		return s.delete(ctx, args, deletion{
			all: *all, yes: *yes, one: "file", many: "files",
			list: func(visit func(id string) bool) error {
				return s.Files(ctx, "", func(f openai.File) bool { return visit(f.ID) })
			},
			delete: func(id string) (openai.Deleted, error) { return s.DeleteFile(ctx, id) },
		})
	})
	return cmd
}
