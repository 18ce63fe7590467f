package cli

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/openai"
)

// FilesCommand sets up `tidegate files`.
func FilesCommand(cmd *cobra.Command) {
	addFlags(cmd)
	cmd.AddCommand(filesList(), filesUpload(), filesDownload(), filesDelete())
}

func filesList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists files, newest first", Args: cobra.NoArgs}
	purpose := cmd.Flags().String("purpose", "", "only those with this purpose")
	limit := cmd.Flags().Int("limit", 0, "at most so many; 0 for all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := newSession(cmd)
		if err == nil {
			err = oneOf("--purpose", *purpose, append(openai.UploadPurposes, openai.PurposeBatchOutput)...)
		}
		if err == nil {
			err = notNegative("--limit", *limit)
		}
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		if !s.json {
			fmt.Fprintln(table, "ID\tPURPOSE\tSIZE\tAGE\tNAME")
		}
		n := 0
		err = errors.Join(s.Files(s.ctx, func(f openai.File) bool {
			if *purpose != "" && f.Purpose != *purpose {
				return true
			}
			err = s.print(f, func(io.Writer) {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%q\n", f.ID, f.Purpose, size(f.Bytes), age(f.CreatedAt), f.Filename)
			})
			n++
			return err == nil && n != *limit
		}), err)
		return errors.Join(err, table.Flush())
	}
	return cmd
}

func filesUpload() *cobra.Command {
	cmd := &cobra.Command{Use: "upload <file...>", Short: "Uploads files", Args: cobra.MinimumNArgs(1)}
	purpose := cmd.Flags().String("purpose", openai.PurposeBatch, "what they are for")
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		for _, path := range paths {
			f, err := s.upload(s.ctx, path, *purpose)
			if err != nil {
				return err
			}
			if err := s.print(f, func(w io.Writer) { fmt.Fprintln(w, f.ID) }); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func filesDownload() *cobra.Command {
	cmd := &cobra.Command{Use: "download <id>", Short: "Writes the content of a file", Args: cobra.ExactArgs(1)}
	output := cmd.Flags().String("output", "", "where to (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		if *output != "" {
			return s.download(s.ctx, args[0], *output)
		}
		_, err = s.Download(s.ctx, args[0], s.out)
		return err
	}
	return cmd
}

func filesDelete() *cobra.Command {
	return deleteCommand(deletion{
		short: "Deletes files", what: "files", all: "all files, results too",
		list: func(s *session, add func(string)) error {
			return s.Files(s.ctx, func(f openai.File) bool { add(f.ID); return true })
		},
		remove: func(s *session, id string, _ bool) (openai.Deleted, error) { return s.DeleteFile(s.ctx, id) },
	})
}
