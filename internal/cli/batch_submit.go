package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func batchSubmit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "submit <file>", Short: "Uploads a file of requests and makes a batch of it", Args: cobra.ExactArgs(1),
		Example: "  tidegate batch submit batch.jsonl --wait --output results.jsonl\n" +
			"  zcat big.jsonl.gz | tidegate batch submit - --priority -10 --metadata team=search",
		Long: "Uploads a file of requests, - for standard input, and makes a batch of it. It may be compressed (gzip, zstd, bzip2, zip).\n" +
			"When the batch is waited for, the status is 0 when every line has completed, 2 when not, 1 for an error.",
	}
	f := cmd.Flags()
	endpoint := f.String("endpoint", "", "path that the requests are for (default: the url of the first line)")
	window := f.String("window", "24h", "time to complete in: 24h, or any duration from 1m to 720h")
	pairs := f.StringArray("metadata", nil, "key=value to keep with the batch; may be repeated")
	priority := f.Int("priority", 0, "-100 to 100; lines of larger priorities start first")
	wait := f.Bool("wait", false, "wait until the batch has ended")
	var r results
	f.StringVar(&r.output, "output", "", "file for the results, - for standard output; implies --wait")
	f.StringVar(&r.errs, "errors", "", "file for the errors (default: beside --output, named .errors.jsonl)")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		// Errors are reported before the upload.
		metadata, err := parseMetadata(*pairs)
		if err := errors.Join(err, checkWindow(*window), checkPriority("--priority", *priority), r.check()); err != nil {
			return err
		}
		b, err := s.submit(ctx, args[0], client.CreateBatch{Endpoint: *endpoint, CompletionWindow: *window, Metadata: metadata, Priority: *priority})
		if err != nil {
			return err
		}
		if !*wait && r.output == "" {
			return s.print(b, func(w io.Writer) { fmt.Fprintln(w, b.ID) })
		}
		if b, err = s.wait(ctx, b.ID); err != nil {
			return s.goesOn(ctx, b.ID, err)
		}
		if r.output != "" {
			if err := s.save(ctx, b, r); err != nil {
				return fmt.Errorf("%s has ended: %w", b.ID, err)
			}
			if r.output == toStdout {
				s.out = s.err
			}
		}
		if err := s.print(b, func(w io.Writer) { describe(w, b) }); err != nil {
			return err
		}
		return complete(b)
	})
	return cmd
}

// submit uploads a file and makes a batch of it.
func (s *session) submit(ctx context.Context, path string, b client.CreateBatch) (_ openai.Batch, err error) {
	src, err := s.open(ctx, path, openai.PurposeBatch)
	if err != nil {
		return openai.Batch{}, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	if b.Endpoint == "" {
		if b.Endpoint, err = src.endpoint(); err != nil {
			return openai.Batch{}, err
		}
	}
	if err := oneOf("endpoint", b.Endpoint, openai.BatchEndpoints); err != nil {
		return openai.Batch{}, err
	}
	f, err := s.upload(ctx, src)
	if err != nil {
		return openai.Batch{}, err
	}
	return s.create(ctx, f, b)
}

// create makes a batch of a file that was uploaded for it.
func (s *session) create(ctx context.Context, f openai.File, b client.CreateBatch) (openai.Batch, error) {
	b.InputFileID = f.ID
	created, err := s.Create(ctx, b)
	if err == nil {
		return created, nil
	}
	err = fmt.Errorf("creating a batch of %s: %w", f.ID, err)
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status < http.StatusInternalServerError && !client.MayPass(err) {
		// No batch was created, so that the file is not needed.
		if _, deleting := s.DeleteFile(ctx, f.ID); deleting != nil {
			err = errors.Join(err, fmt.Errorf("deleting %s: %w", f.ID, deleting))
		}
	}
	return openai.Batch{}, err
}

// parseMetadata reads pairs of key=value. A value may have anything in it.
func parseMetadata(pairs []string) (map[string]string, error) {
	metadata := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--metadata %q must be key=value", pair)
		}
		if _, twice := metadata[key]; twice {
			return nil, fmt.Errorf("--metadata names %q twice", key)
		}
		metadata[key] = value
	}
	return metadata, nil
}

// checkWindow is the gateway's rule for completion_window.
func checkWindow(window string) error {
	d, err := time.ParseDuration(window)
	if err != nil || d < time.Minute || d > 30*24*time.Hour {
		return fmt.Errorf("--window %q must be 24h, or any duration from 1m to 720h", window)
	}
	return nil
}
