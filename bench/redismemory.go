package main

import (
	"context"
	"fmt"
	"math"

	"github.com/tidegate/tidegate/batch/queue/redis"
)

// queueFill is the number of batches and slices that are queued.
type queueFill struct {
	name           string
	batches, lines int // lines of one batch
	perSlice       int
}

// redisRound is Redis' memory as a queue fills and empties, in bytes.
type redisRound struct {
	Lines        int     `json:"lines"`
	Slices       int     `json:"slices"`
	Before       int64   `json:"used_memory_before"`
	Queued       int64   `json:"used_memory_queued"`  // all pushed
	Taken        int64   `json:"used_memory_taken"`   // all popped, none done
	Dropped      int64   `json:"used_memory_dropped"` // all batches dropped
	PerSlice     float64 `json:"bytes_per_queued_slice"`
	PerLine      float64 `json:"bytes_per_queued_line"`
	PerTaken     float64 `json:"bytes_per_taken_slice"`
	StreamLength int64   `json:"stream_length"` // of all streams together
}

// measureRedisMemory fills a queue with its Go API and reads the memory of Redis without
// connections: 1,000,000 lines as full slices, and as many lines that are one slice each,
// like lines above 128 KiB.
func measureRedisMemory(ctx context.Context, _ *bench) (any, error) {
	report := make(map[string]any)
	for _, f := range []queueFill{
		{"full slices", 20, 50_000, 64},
		{"slices of one line", 20, 50_000, 1},
	} {
		r, err := fillQueue(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Printf("redis, %s: %d lines in %d slices: %.1f bytes per queued slice, %.2f per line; %.1f per slice taken and not done\n", f.name, r.Lines, r.Slices, r.PerSlice, r.PerLine, r.PerTaken)
		report[f.name] = r
	}
	return report, nil
}

// fillQueue fills and drains a queue on a separate Redis.
func fillQueue(ctx context.Context, f queueFill) (redisRound, error) {
	server, err := startRedis()
	if err != nil {
		return redisRound{}, err
	}
	defer server.Close()
	at, err := redis.ParseURL(server.URL())
	if err != nil {
		return redisRound{}, err
	}
	numbers := make([]int, (f.lines+f.perSlice-1)/f.perSlice)
	for i := range numbers {
		numbers[i] = i
	}
	r := redisRound{Lines: f.batches * f.lines, Slices: f.batches * len(numbers)}
	name := func(i int) string { return fmt.Sprintf("batch_%032x", i) }
	for _, step := range []struct {
		memory *int64
		do     func(q *redis.Queue, id string) error
	}{
		{&r.Before, func(*redis.Queue, string) error { return nil }},
		{&r.Queued, func(q *redis.Queue, id string) error { return q.Push(ctx, id, numbers) }},
		{&r.Taken, func(q *redis.Queue, id string) error { return popAll(ctx, q, id, len(numbers)) }},
		{&r.Dropped, func(q *redis.Queue, id string) error { return q.Drop(ctx, id) }},
	} {
		q := redis.New(redis.Config{Server: at, Instance: "bench"})
		if err := q.Open(ctx); err != nil {
			return r, err
		}
		for i := range f.batches {
			if err := step.do(q, name(i)); err != nil {
				q.Close()
				return r, err
			}
		}
		if err := q.Close(); err != nil { // its connections' buffers do not count
			return r, err
		}
		if *step.memory, err = server.info("memory", "used_memory"); err != nil {
			return r, err
		}
		if step.memory == &r.Queued {
			for i := range f.batches {
				n, err := server.streamLength(redis.DefaultPrefix, name(i))
				if err != nil {
					return r, err
				}
				r.StreamLength += n
			}
		}
	}
	if r.StreamLength != int64(r.Slices) {
		return r, fmt.Errorf("%d entries for %d slices", r.StreamLength, r.Slices)
	}
	r.PerSlice, r.PerLine = perUnit(r.Queued-r.Before, r.Slices), perUnit(r.Queued-r.Before, r.Lines)
	r.PerTaken = perUnit(r.Taken-r.Before, r.Slices)
	return r, nil
}

// popAll takes every slice of a batch.
func popAll(ctx context.Context, q *redis.Queue, id string, want int) error {
	for got := 0; got < want; {
		numbers, err := q.Pop(ctx, id, 1000)
		if err != nil {
			return err
		}
		if len(numbers) == 0 {
			return fmt.Errorf("the queue gave %d of %d slices", got, want)
		}
		got += len(numbers)
	}
	return nil
}

func perUnit(bytes int64, units int) float64 {
	return math.Round(100*float64(bytes)/float64(units)) / 100
}
