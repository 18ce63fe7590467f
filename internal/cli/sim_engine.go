package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/tidegate/tidegate/internal/vllmsim"
	"github.com/tidegate/tidegate/internal/vllmsim/engine"
)

// simVersions are the values of --vllm-version.
var simVersions = map[string]string{"0.11": vllmsim.DefaultVersion, "0.32": vllmsim.NewerVersion}

// simEngine has the flags of `tidegate sim` for the engine.
type simEngine struct {
	name, version, policy string
	kvTokens, budget      int
	lag                   time.Duration
}

// engineFlags adds the flags of the simulated engine.
func engineFlags(f *pflag.FlagSet, cfg *vllmsim.Config) *simEngine {
	e := new(simEngine)
	f.StringVar(&e.name, "engine", "", "simulate the scheduler and the step times of a GPU: "+strings.Join(engine.Names(), ", "))
	f.Float64Var(&cfg.Speed, "speed", 1, "with --engine: divide all its durations by this")
	f.IntVar(&e.kvTokens, "kv-tokens", 0, "with --engine: capacity of the KV cache in tokens (default: the engine's)")
	f.IntVar(&e.budget, "max-num-batched-tokens", 0, "with --engine: tokens of a step (default: the engine's)")
	f.DurationVar(&e.lag, "metrics-lag", vllmsim.DefaultMetricsLag, "with --engine: how old /metrics is")
	f.StringVar(&e.policy, "scheduling-policy", "fcfs", "fcfs, or priority to accept requests with a priority; with --engine they are scheduled by it")
	f.IntVar(&cfg.MaxQueuedReqs, "max-num-queued-reqs", 0, "answer 503 at once when so many requests wait or run (default: any number)")
	f.StringVar(&e.version, "vllm-version", "", "0.11 or 0.32: names in /metrics (default: 0.11, with --engine 0.32)")
	return e
}

// apply sets the flags in the configuration, and returns an error for the first invalid
// one.
func (e *simEngine) apply(f *pflag.FlagSet, cfg *vllmsim.Config) error {
	switch e.policy {
	case "fcfs":
	case "priority":
		cfg.PriorityScheduling = true
	default:
		return fmt.Errorf("--scheduling-policy %s: want fcfs or priority", e.policy)
	}
	if e.version != "" {
		version, ok := simVersions[e.version]
		if !ok {
			return fmt.Errorf("--vllm-version %s: want 0.11 or 0.32", e.version)
		}
		cfg.Version = version
	}
	if e.name == "" {
		for _, name := range []string{"speed", "kv-tokens", "max-num-batched-tokens", "metrics-lag"} {
			if f.Changed(name) {
				return fmt.Errorf("--%s needs --engine", name)
			}
		}
		return nil
	}
	spec, ok := engine.Specs[e.name]
	if !ok {
		return fmt.Errorf("--engine %s: want one of %s", e.name, strings.Join(engine.Names(), ", "))
	}
	if f.Changed("ttft") || f.Changed("itl") {
		return errors.New("--ttft and --itl have no meaning with --engine, which computes both")
	}
	return e.fill(spec, f, cfg)
}

// fill completes the engine's own description.
func (e *simEngine) fill(spec engine.Spec, f *pflag.FlagSet, cfg *vllmsim.Config) error {
	if !f.Changed("max-num-seqs") {
		cfg.MaxNumSeqs = spec.MaxNumSeqs
	}
	if f.Changed("kv-tokens") {
		spec.KVTokens = e.kvTokens
	}
	if f.Changed("max-num-batched-tokens") {
		spec.MaxNumBatchedTokens = e.budget
	}
	switch {
	case !(cfg.Speed > 0) || cfg.Speed > maxSimSpeed:
		return fmt.Errorf("--speed must be above 0 and at most %d", maxSimSpeed)
	case spec.KVTokens < spec.BlockSize:
		return fmt.Errorf("--kv-tokens must be at least %d, a block", spec.BlockSize)
	case spec.MaxNumBatchedTokens < 1:
		return errors.New("--max-num-batched-tokens must be at least 1")
	case cfg.MaxModelLen > spec.KVTokens:
		return fmt.Errorf("--max-model-len %d does not fit into the KV cache of %d tokens", cfg.MaxModelLen, spec.KVTokens)
	case e.lag < 0:
		return errors.New("--metrics-lag must not be negative")
	}
	cfg.MetricsLag = e.lag
	if e.lag == 0 {
		cfg.MetricsLag = -1
	}
	spec.KVTokens = spec.KVTokens / spec.BlockSize * spec.BlockSize
	cfg.Engine = &spec
	return nil
}

// maxSimSpeed limits --speed: a step of 7.5 ms would take 75 µs, which timers
// do not keep.
const maxSimSpeed = 100
