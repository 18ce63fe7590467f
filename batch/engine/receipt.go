package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/receipt"
)

// gatewayName begins the last name in an index: the version of the gateway that wrote it. No
// line refers to it. No upstream has such a name.
const gatewayName = "\x00gateway "

// splitNames returns the names of upstreams in an index, and the version of the gateway that
// wrote it, "" for an index of an earlier version.
func splitNames(names []string) (upstreams []string, version string) {
	if n := len(names); n > 0 {
		if v, ok := strings.CutPrefix(names[n-1], gatewayName); ok {
			return names[:n-1], v
		}
	}
	return names, ""
}

// Receipt returns the receipt of a batch that has ended, without a signature. All values were
// stored before: no file is read but the end of the index. A *batch.StateError reports that
// the batch has not ended, or that one of its files no longer exists.
func (r *lineReader) Receipt(ctx context.Context, tenant, id string) (receipt.Receipt, error) {
	b, err := r.store.Batch(ctx, tenant, id)
	if err != nil {
		return receipt.Receipt{}, err
	}
	if !b.Status.Terminal() {
		return receipt.Receipt{}, &batch.StateError{BatchID: id, Status: b.Status, Err: batch.ErrNoReceipt}
	}
	out := receipt.Receipt{
		BatchID: b.ID, Endpoint: b.Endpoint, Model: b.Model, Status: string(b.Status), CreatedAt: b.CreatedAt.Unix(), EndedAt: b.EndedAt().Unix(),
		RequestCounts: b.Counts, Usage: b.Usage, Upstreams: []string{},
	}
	input, err := r.store.InputFile(ctx, id)
	if err != nil {
		return out, goneIf(err, batch.ErrInputGone, id, b.InputFileID)
	}
	out.Input = receiptFile(input)
	for _, f := range []struct {
		id string
		to **receipt.File
	}{{b.OutputFileID, &out.Output}, {b.ErrorFileID, &out.Errors}} {
		if f.id == "" {
			continue
		}
		file, err := r.store.File(ctx, b.Tenant, f.id)
		if err != nil {
			return out, goneIf(err, batch.ErrResultsGone, id, f.id)
		}
		*f.to = receiptFile(file)
	}
	if b.IndexFileID != "" {
		x, err := r.indexOf(ctx, b)
		if err != nil {
			return out, fmt.Errorf("reading upstreams of %s: %w", id, err)
		}
		out.Upstreams, out.GatewayVersion = append(out.Upstreams, x.names...), x.version
		slices.Sort(out.Upstreams)
	}
	return out, nil
}

func receiptFile(f batch.File) *receipt.File {
	return &receipt.File{ID: f.ID, Bytes: f.Bytes, SHA256: f.SHA256}
}
