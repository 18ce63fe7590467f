// Command bench compares Tidegate with other programs in one run: machines are noisy, so
// every figure is a ratio or a processor time. README.md in this folder has the method;
// results/ has raw numbers.
//
//	go run ./bench [-tidegate BINARY] [-out FILE] SCENARIO…
//
// Scenarios on embedded defaults: live (beside nginx), batchrate (beside live),
// lengths (of lines, beside the ideal), tail (beside the bound of who leaves no slot free),
// memory (a 200 MB batch). On PostgreSQL and Redis: shared (beside embedded, one
// gateway and three), planning (of a batch, until all is queued), redismemory (per
// queued line), churn (of a million lines and more, the tables watched), claims
// (among a million lines beside a thousand), takeover (of what a gateway had that
// was killed), spread (one batch on three gateways, beside the ideal). On both stores: dashboard (pages with a year behind them, and what
// open ones cost), crowd (a batch that goes before 10,000 others, beside itself
// alone). On simulated GPUs: livefirst (live beside a batch, beside nginx and an ungated
// flood), burst (of live beside a batch), knee (the limit that is found, beside the
// right one), prefix (a batch that shares prefixes, beside a client that divides it
// by prefix), routing (a trace of live requests, beside nginx). On a real vLLM, which scripts/test-vllm installs and names: interference (of
// a batch with live requests).
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// scenario is one measurement. It returns its raw numbers.
type scenario func(ctx context.Context, b *bench) (any, error)

var scenarios = map[string]scenario{
	"live":        measureLive,
	"batchrate":   measureBatchRate,
	"lengths":     measureLengths,
	"tail":        measureTail,
	"memory":      measureMemory,
	"shared":      measureShared,
	"planning":    measurePlanning,
	"redismemory": measureRedisMemory,
	"churn":       measureChurn,
	"claims":      measureClaims,
	"takeover":    measureTakeover,
	"spread":      measureSpread,
	"dashboard":   measureDashboard,
	"crowd":       measureCrowd,

	"livefirst": measureLiveFirst,
	"burst":     measureBurst,
	"knee":      measureKnee,

	"prefix":  measurePrefix,
	"routing": measureRouting,

	"interference": measureInterference,
}

// bench is the shared state of the scenarios.
type bench struct {
	tidegate string // path of the binary
	dir      string // scratch

	interference interferenceOptions
	fleet        fleetOptions
	prefix       prefixOptions
	lengths      lengthsOptions
	routing      routingOptions
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	binary := flag.String("tidegate", "", "the binary to measure; built from this checkout when empty")
	out := flag.String("out", "", "file that raw numbers are written to, as JSON")
	b := &bench{}
	b.interference.register()
	b.fleet.register()
	b.prefix.register()
	b.lengths.register()
	b.routing.register()
	flag.Parse()
	if flag.NArg() == 0 {
		return fmt.Errorf("name at least one scenario: %s", strings.Join(slices.Sorted(maps.Keys(scenarios)), ", "))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "tidegate-bench-")
	if err != nil {
		return fmt.Errorf("making scratch directory: %w", err)
	}
	defer os.RemoveAll(dir)
	b.tidegate, b.dir = *binary, dir
	if b.tidegate == "" {
		b.tidegate = filepath.Join(dir, "tidegate")
		build := exec.CommandContext(ctx, "go", "build", "-o", b.tidegate, "./cmd/tidegate")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building tidegate: %w", err)
		}
	}
	loads := make(map[string]string)
	results := map[string]any{"machine": machine(), "load_average_before": loads}
	for _, name := range flag.Args() {
		measure, known := scenarios[name]
		if !known {
			return fmt.Errorf("unknown scenario %q", name)
		}
		loads[name] = loadAverage()
		fmt.Printf("== %s (load average %s)\n", name, loads[name])
		raw, err := measure(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		results[name] = raw
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding results: %w", err)
	}
	if *out == "" {
		fmt.Println(string(text))
		return nil
	}
	return os.WriteFile(*out, append(text, '\n'), 0o644)
}

// loadAverage returns the load of the machine over 1, 5 and 15 minutes: with other load,
// lines per second are unreliable.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 3 {
		return "unknown"
	}
	return strings.Join(fields[:3], " ")
}

// machine describes the machine.
func machine() map[string]any {
	model := "unknown"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return map[string]any{"cpu": model, "cores": runtime.NumCPU(), "go": runtime.Version(), "date": time.Now().UTC().Format(time.DateOnly)}
}
