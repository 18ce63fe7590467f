package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// batchWork are the lines of the fleet's batches.
type batchWork struct {
	prompt, generate int // tokens of a line
}

// body is the ith request of a batch.
func (w batchWork) body(name string, i int) []byte {
	return prose(fmt.Sprintf("%s-%06d", name, i), w.prompt, w.generate, false)
}

// write writes a batch of n lines.
func (w batchWork) write(to io.Writer, name string, n int) error {
	for i := range n {
		line, err := json.Marshal(map[string]any{
			"custom_id": fmt.Sprintf("line-%06d", i), "method": "POST", "url": "/v1/chat/completions", "body": json.RawMessage(w.body(name, i)),
		})
		if err != nil {
			return fmt.Errorf("encoding line: %w", err)
		}
		if _, err := to.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("writing input: %w", err)
		}
	}
	return nil
}

// submit makes batches of n lines on a gateway.
func (w batchWork) submit(ctx context.Context, gateway *process, batches, n int) error {
	for i := range batches {
		fileID, err := upload(ctx, gateway.addr, func(to io.Writer) error { return w.write(to, fmt.Sprintf("batch%d", i), n) })
		if err != nil {
			return err
		}
		if _, err := createBatch(ctx, gateway.addr, fileID); err != nil {
			return err
		}
	}
	return nil
}

// floodRamp is the time until all workers have started, about the time of a line. Workers
// that start at the same time would always send their prompts together, because all lines
// are equally long.
const floodRamp = 2 * time.Second

// flood has workers that send requests of a batch to addresses in turn, each its next one
// after the response to the last one, until ctx is done. It returns the number of
// responses.
func (w batchWork) flood(ctx context.Context, addrs []string, workers int) (int64, error) {
	var (
		next, done atomic.Int64
		all        sync.WaitGroup
		mu         sync.Mutex
		failure    error
	)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for worker := range workers {
		all.Go(func() {
			if pause(ctx, floodRamp*time.Duration(worker)/time.Duration(workers)) != nil {
				return
			}
			for ctx.Err() == nil {
				err := postWhole(ctx, addrs[worker%len(addrs)], w.body("flood", int(next.Add(1))))
				if err == nil {
					done.Add(1)
					continue
				}
				if ctx.Err() == nil {
					mu.Lock()
					failure = errors.Join(failure, err)
					mu.Unlock()
					cancel()
				}
			}
		})
	}
	all.Wait()
	return done.Load(), failure
}
