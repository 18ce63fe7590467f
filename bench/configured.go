package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// configured is a gateway with a Caddyfile. A gateway with embedded defaults that is
// compared with one on other drivers also has a Caddyfile, so that only the drivers
// differ.
type configured struct {
	upstreams []*process
	data      string // directory; gateways on the same files have the same
	app       string // lines in the block tidegate
	batch     string // lines in the block batch
}

func (c configured) caddyfile(addr string) string {
	urls := make([]string, len(c.upstreams))
	for i, u := range c.upstreams {
		urls[i] = "http://" + u.addr
	}
	return fmt.Sprintf(`{
	admin off
	auto_https off
	tidegate {
		data %s
		%s
		pool {
			upstream %s
		}
		batch {
			%s
		}
	}
}
http://%s {
	tidegate
}
`, c.data, c.app, strings.Join(urls, " "), c.batch, addr)
}

// startConfigured runs a gateway with a Caddyfile.
func (b *bench) startConfigured(ctx context.Context, c configured) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "gateway-")
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(c.caddyfile(addr)), 0o600); err != nil {
		return nil, fmt.Errorf("writing a Caddyfile: %w", err)
	}
	return b.start(ctx, "gateway", addr, "/ready", b.tidegate, "run", "--config", path)
}

// startSeveral runs n gateways with the same Caddyfile.
func (b *bench) startSeveral(ctx context.Context, c configured, n int) ([]*process, error) {
	var gateways []*process
	for range n {
		g, err := b.startConfigured(ctx, c)
		if err != nil {
			stopAll(gateways)
			return nil, err
		}
		gateways = append(gateways, g)
	}
	return gateways, nil
}

func stopAll(processes []*process) {
	for _, p := range processes {
		p.stop()
	}
}

// runBatch uploads a batch of n lines, runs it and returns its final state.
func runBatch(ctx context.Context, gateway string, n, size int) (batchState, error) {
	fileID, err := uploadInput(ctx, gateway, n, size)
	if err != nil {
		return batchState{}, err
	}
	created, err := createBatch(ctx, gateway, fileID)
	if err != nil {
		return batchState{}, err
	}
	return waitBatch(ctx, gateway, created.ID, nil)
}

// errOutput is for a batch whose output file does not have all lines.
var errOutput = errors.New("the output file does not have all lines")

// checkOutput counts the lines of the output file.
func checkOutput(ctx context.Context, gateway string, b batchState) error {
	_, lines, err := download(ctx, gateway, b.OutputFileID)
	if err != nil {
		return err
	}
	if lines != b.RequestCounts.Total {
		return fmt.Errorf("%w: %d of %d", errOutput, lines, b.RequestCounts.Total)
	}
	return nil
}
