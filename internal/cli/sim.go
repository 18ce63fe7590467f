package cli

import (
	"fmt"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

// SimCommand sets up `tidegate sim`.
func SimCommand(cmd *cobra.Command) {
	f := cmd.Flags()
	var cfg vllmsim.Config
	listen := f.String("listen", "127.0.0.1:8000", "address to listen on; port 0 for a free one")
	f.StringArrayVar(&cfg.Models, "model", nil, "model that it serves; may be repeated (default: sim)")
	f.DurationVar(&cfg.TTFT, "ttft", 0, "time to the first token")
	f.DurationVar(&cfg.ITL, "itl", 0, "time between two tokens")
	f.IntVar(&cfg.MaxNumSeqs, "max-num-seqs", vllmsim.DefaultMaxNumSeqs, "how many requests run at once; the others wait")
	f.DurationVar(&cfg.Startup, "startup", 0, "how long the model loads")
	f.IntVar(&cfg.MaxModelLen, "max-model-len", 0, "context length in tokens (default: nothing is refused)")
	f.StringVar(&cfg.APIKey, "api-key", "", "key that it asks for")
	f.Uint64Var(&cfg.Seed, "seed", 0, "decides which requests meet a fault (default: made of the address)")
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
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
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
