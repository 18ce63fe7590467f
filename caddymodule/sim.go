package caddymodule

import (
	"fmt"
	"net"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/vllmsim"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "sim", Short: "Runs a simulated vLLM server",
		CobraFunc: func(cmd *cobra.Command) {
			f := cmd.Flags()
			listen := f.String("listen", "127.0.0.1:8000", "address")
			var cfg vllmsim.Config
			f.StringArrayVar(&cfg.Models, "model", nil, "model")
			f.DurationVar(&cfg.TTFT, "ttft", 0, "")
			f.DurationVar(&cfg.ITL, "itl", 0, "")
			f.IntVar(&cfg.MaxNumSeqs, "max-num-seqs", 0, "")
			cmd.RunE = func(cmd *cobra.Command, _ []string) error {
				ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
				defer stop()
				ln, err := net.Listen("tcp", *listen)
				if err != nil {
					return err
				}
				fmt.Println("listening on", ln.Addr())
				return vllmsim.Serve(ctx, ln, cfg)
			}
		},
	})
}
