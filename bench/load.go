package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is a closed loop: every connection sends its next request after the response to the
// previous one.
type load struct {
	addr        string
	path        string
	body        []byte
	connections int
	requests    int64 // in all
}

// loadResult is the result of a load.
type loadResult struct {
	Requests int64         `json:"requests"`
	Errors   int64         `json:"errors"`
	Wall     time.Duration `json:"wall_ns"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
}

// Rate is requests per second.
func (r loadResult) Rate() float64 { return float64(r.Requests) / r.Wall.Seconds() }

// run sends the load. An answer that is not 200 counts as an error.
func (l load) run(ctx context.Context) (loadResult, error) {
	raw := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", l.path, l.addr, len(l.body))
	raw = append(raw, l.body...)
	var (
		left, errs atomic.Int64
		mu         sync.Mutex
		times      []time.Duration
		failure    error
		wg         sync.WaitGroup
	)
	left.Store(l.requests)
	begin := time.Now()
	for range l.connections {
		wg.Go(func() {
			mine, err := l.connection(ctx, raw, &left, &errs)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			if err != nil && failure == nil {
				failure = err
			}
		})
	}
	wg.Wait()
	wall := time.Since(begin)
	if failure != nil {
		return loadResult{}, failure
	}
	slices.Sort(times)
	return loadResult{
		Requests: int64(len(times)), Errors: errs.Load(), Wall: wall,
		P50: times[len(times)/2], P99: times[len(times)*99/100],
	}, nil
}

func (l load) connection(ctx context.Context, raw []byte, left, errs *atomic.Int64) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReaderSize(conn, 32<<10)
	var times []time.Duration
	for left.Add(-1) >= 0 {
		begin := time.Now()
		if _, err := conn.Write(raw); err != nil {
			return nil, fmt.Errorf("sending: %w", err)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, fmt.Errorf("reading answer: %w", err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return nil, fmt.Errorf("reading answer: %w", err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			errs.Add(1)
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}
