package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// SimCommand sets up `tidegate sim`.
func SimCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Example = "  tidegate sim --listen 127.0.0.1:8000 --model my-model --ttft 200ms --itl 20ms\n  tidegate sim --fault status-503=0.01\n  tidegate sim --engine h100-8b"
	f := cmd.Flags()
	var cfg vllmsim.Config
	listen := f.String("listen", "127.0.0.1:8000", "address to listen on; port 0 for a free one")
	f.StringArrayVar(&cfg.Models, "model", nil, "model that it serves; may be repeated (default: sim)")
	gpu := engineFlags(f, &cfg)
	f.DurationVar(&cfg.TTFT, "ttft", 0, "time to the first token")
	f.DurationVar(&cfg.ITL, "itl", 0, "time between two tokens")
	f.IntVar(&cfg.MaxNumSeqs, "max-num-seqs", vllmsim.DefaultMaxNumSeqs, "how many requests run at once; the others wait")
	f.DurationVar(&cfg.Startup, "startup", 0, "how long the model loads")
	f.IntVar(&cfg.MaxModelLen, "max-model-len", 0, "context length in tokens (default: nothing is refused)")
	f.BoolVar(&cfg.NoPrefixCaching, "no-prefix-caching", false, "say that the prefix cache is off; with --engine there is none")
	f.BoolVar(&cfg.PriorityScheduling, "priority-scheduling", false, "accept requests with a priority, as after --scheduling-policy priority")
	f.StringVar(&cfg.APIKey, "api-key", "", "key that it asks for")
	f.Uint64Var(&cfg.Seed, "seed", 0, "decides which requests meet a fault (default: made of the address)")
	refuses := f.Bool("refuse-at-startup", false, "do not listen while the model loads, as vLLM does, in place of answering 503; with --engine always so")
	faults := f.StringArray("fault", nil, "KIND=RATE: a fault that some requests meet, such as status-503=0.01 or cut-mid=0.001; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		for _, text := range *faults {
			fault, rate, err := vllmsim.ParseFault(text)
			if err != nil {
				return fmt.Errorf("--fault %s: %w", text, err)
			}
			if cfg.Faults == nil {
				cfg.Faults = make(map[vllmsim.Fault]float64)
			}
			cfg.Faults[fault] = rate
		}
		if err := gpu.apply(f, &cfg); err != nil {
			return err
		}
		if err := checkSim(cfg); err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if *refuses || cfg.Engine != nil {
			if !load(ctx, cfg.Startup) {
				return nil
			}
			cfg.Startup = 0
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		models := cfg.Models
		if len(models) == 0 {
			models = []string{vllmsim.DefaultModel}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "simulated vLLM server of %s on http://%s\n", strings.Join(models, ", "), ln.Addr())
		return vllmsim.Serve(ctx, ln, cfg)
	}
}

// load waits as long as the model loads. It reports false when ctx ends before.
func load(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// checkSim names the first flag that makes no sense.
func checkSim(cfg vllmsim.Config) error {
	for _, flag := range []struct {
		name  string
		value int64
		least int64
	}{
		{"ttft", int64(cfg.TTFT), 0},
		{"itl", int64(cfg.ITL), 0},
		{"startup", int64(cfg.Startup), 0},
		{"max-model-len", int64(cfg.MaxModelLen), 0},
		{"max-num-seqs", int64(cfg.MaxNumSeqs), 1},
		{"max-num-queued-reqs", int64(cfg.MaxQueuedReqs), 0},
	} {
		if flag.value < flag.least {
			return fmt.Errorf("--%s must be at least %d", flag.name, flag.least)
		}
	}
	if slices.Contains(cfg.Models, "") {
		return errors.New("--model must not be empty")
	}
	sum := 0.0
	for _, rate := range cfg.Faults {
		sum += rate
	}
	if sum > 1 {
		return fmt.Errorf("--fault: the rates are %g together, more than 1", sum)
	}
	return nil
}
