//go:build !race

package upstreams

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// TestMakespan checks that a batch whose lines share prefixes takes hardly longer than a
// client that divides the groups over the servers in advance, and has hardly more
// computed, while no live request comes, also if the gateway has just started. The bounds leave room for what goroutines do
// in another order.
func TestMakespan(t *testing.T) {
	servers := slices.Repeat([]gpu{{slower: 1, kvTokens: 60_000}}, 4)
	for _, tt := range []struct {
		name              string
		job               sharedJob
		memory            int64   // 0: the default; requests that wait have a half of it
		longest, computed float64 // of those of the client
	}{
		{"short", sharedJob{groups: 20, lines: 20, shared: 2048, own: 50, generate: 100, shuffled: true}, 0, 1.2, 1.05},
		{"long", sharedJob{groups: 100, lines: 40, shared: 2048, own: 50, generate: 100, shuffled: true}, 0, 1, 1.05},
		{"four times the window", sharedJob{groups: 100, lines: 40, shared: 2048, own: 50, generate: 100, shuffled: true}, 16 << 20, 1, 1.05},
		{"sixteen times the window", sharedJob{groups: 100, lines: 40, shared: 2048, own: 50, generate: 100, shuffled: true}, 4 << 20, 1.25, 1.1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			work := tt.job.job()
			sticky, got := work.sticky(t, servers, 128), work.batch(t, servers, batch.Config{MemoryBytes: tt.memory})
			for _, line := range got.history {
				t.Log(line)
			}
			longest, computed := got.took.Seconds()/sticky.took.Seconds(), got.computed()/sticky.computed()
			t.Logf("client: %v\nbatch: %v\ntime × %.2f, computed × %.3f", sticky, got, longest, computed)
			if longest > tt.longest || computed > tt.computed {
				t.Errorf("got %.2f of the client's time and %.3f of its prompt tokens computed, want at most %.2f and %.2f", longest, computed, tt.longest, tt.computed)
			}
		})
	}
}

// TestWindows prints how the makespan of a shuffled batch depends on the part of it that is
// ordered at a time. It runs with TIDEGATE_WINDOWS="2 4" and -v; the numbers are the size
// of the file divided by that of the window.
func TestWindows(t *testing.T) {
	sizes := strings.Fields(os.Getenv("TIDEGATE_WINDOWS"))
	if len(sizes) == 0 {
		t.Skip("TIDEGATE_WINDOWS is not set")
	}
	servers := slices.Repeat([]gpu{{slower: 1, kvTokens: 60_000}}, 4)
	work := sharedJob{groups: 100, lines: 40, shared: 2048, own: 50, generate: 100, shuffled: true}.job()
	size := 0
	for _, body := range work.bodies {
		size += len(body)
	}
	sticky := work.sticky(t, servers, 128)
	for _, ratio := range sizes {
		of, err := strconv.ParseFloat(ratio, 64)
		if err != nil || of <= 0 {
			t.Fatalf("TIDEGATE_WINDOWS: %q: %v", ratio, err)
		}
		got := work.batch(t, servers, batch.Config{MemoryBytes: int64(2 * float64(size) / of)})
		t.Logf("file ÷ window %s: time × %.2f, computed × %.2f", ratio, got.took.Seconds()/sticky.took.Seconds(), got.computed()/sticky.computed())
	}
}

// TestFirstLiveRequest checks that the first live request after a quiet time gets its
// first token soon, although the steps of all servers are full of the prompts of batch
// lines. A full step takes 0.1 s.
func TestFirstLiveRequest(t *testing.T) {
	for name, tt := range map[string]struct {
		servers, prompt, seqs, atLeast int
		after                          time.Duration
		most                           time.Duration
	}{
		"short prompts":             {2, 200, 0, 40, 6 * time.Second, 250 * time.Millisecond},
		"long prompts":              {2, 2000, 0, 40, 6 * time.Second, 600 * time.Millisecond},
		"short prompts, one server": {1, 200, 0, 40, 6 * time.Second, 250 * time.Millisecond},
		"few slots":                 {1, 200, 16, 4, 6 * time.Second, 600 * time.Millisecond},
		// Lines that the server has no room for wait there for the first seconds only. The
		// request waits for the lines that run, and not for those that wait.
		"few slots, first lines": {1, 200, 16, 60, 900 * time.Millisecond, time.Second},
		// The gateway has just started.
		"short prompts, first lines": {2, 200, 0, 10, 100 * time.Millisecond, 350 * time.Millisecond},
		"long prompts, first lines":  {2, 2000, 0, 4, 300 * time.Millisecond, 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for k := range 3 {
				lines := 0
				onGPUs(t, slices.Repeat([]gpu{{slower: 1, seqs: tt.seqs}}, tt.servers), func(t *testing.T, w *gpus) {
					w.cfg.BatchPrice = -1
					if err := w.pool.Apply(w.cfg); err != nil {
						t.Fatal(err)
					}
					ctx, quit := context.WithCancel(t.Context())
					r := &liveFirstRun{
						liveFirst: liveFirst{servers: tt.servers, length: time.Hour}, gpus: w, ctx: ctx, began: time.Now(),
						result: new(liveFirstResult), failed: t.Errorf, linePrompt: tt.prompt,
					}
					r.work.Go(r.sendLines)
					time.Sleep(tt.after + time.Duration(k)*37*time.Millisecond)
					lines = w.pool.Status()[0].BatchInFlight
					r.sendStream(0)
					if got := quantile(r.result.ttft, 1); got > tt.most || got == 0 || lines < tt.atLeast {
						t.Errorf("got a TTFT of %v beside %d lines, want at most %v beside at least %d", got, lines, tt.most, tt.atLeast)
					} else {
						t.Logf("TTFT %v beside %d lines", got, lines)
					}
					quit()
					r.work.Wait()
				})
			}
		})
	}
}
