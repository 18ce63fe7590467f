package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/receipt"
)

func batchReceipt() *cobra.Command {
	cmd := &cobra.Command{
		Use: "receipt BATCH", Short: "Prints the signed receipt of a batch that has ended", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate batch receipt batch_… > receipt.json",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		text, err := s.Receipt(ctx, args[0])
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "%s\n", text)
		return err
	})
	return cmd
}

// maxReceipt limits the size of a receipt or a list of keys, in bytes.
const maxReceipt = 16 << 20

func batchVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify RECEIPT [FILE...]", Short: "Checks a receipt, and files against it", Args: cobra.MinimumNArgs(1),
		Long:    "Checks the signature of a receipt, and that each file is the input, output or error file\nthat it names. The public keys are those of the gateway, or those in the file --keys,\nwhich GET /v1/batches/receipt_keys returns. With --keys no gateway is needed.",
		Example: "  tidegate batch verify receipt.json input.jsonl output.jsonl\n  tidegate batch verify receipt.json output.jsonl --keys keys.json",
	}
	keyFile := cmd.Flags().String("keys", "", "file with the trusted public keys (default: those of the gateway)")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		text, err := readShort(args[0])
		if err != nil {
			return err
		}
		keys, err := trustedKeys(ctx, s, *keyFile)
		if err != nil {
			return err
		}
		r, err := receipt.Verify(text, keys.Data)
		if err != nil {
			return fmt.Errorf("verifying %s: %w", clean(args[0]), err)
		}
		fmt.Fprintf(s.out, "receipt of %s (%s): the signature is right\n", clean(r.BatchID), clean(r.Status))
		return compareFiles(s.out, r, args[1:])
	})
	return cmd
}

// trustedKeys reads the public keys from a file, or gets those of the gateway.
func trustedKeys(ctx context.Context, s *session, path string) (keys receipt.Keys, err error) {
	if path == "" {
		return s.ReceiptKeys(ctx)
	}
	text, err := readShort(path)
	if err != nil {
		return keys, err
	}
	if err := json.Unmarshal(text, &keys); err != nil {
		return keys, fmt.Errorf("reading keys in %s: %w", clean(path), err)
	}
	return keys, nil
}

func readShort(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxReceipt+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxReceipt {
		return nil, fmt.Errorf("%s is larger than a receipt", clean(path))
	}
	return text, nil
}

// compareFiles prints which file of the receipt each file is, or how it differs. It returns an
// error if one differs.
func compareFiles(w io.Writer, r receipt.Receipt, paths []string) error {
	contents := make([]receipt.Content, len(paths))
	for i, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		contents[i], err = receipt.Read(path, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("reading %s: %w", clean(path), err)
		}
	}
	findings, missing := r.Compare(contents)
	differ := 0
	for _, f := range findings {
		if f.Role != "" {
			fmt.Fprintf(w, "%s: is the %s file\n", clean(f.Name), f.Role)
			continue
		}
		differ++
		fmt.Fprintf(w, "%s: DIFFERS\n", clean(f.Name))
		for _, d := range f.Differences {
			fmt.Fprintf(w, "  %s\n", clean(d))
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(w, "not checked: %s\n", strings.Join(missing, ", "))
	}
	if differ > 0 {
		return fmt.Errorf("%s of the receipt", count(differ, "file is not", "files are not"))
	}
	return nil
}
