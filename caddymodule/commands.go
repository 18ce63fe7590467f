package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/cli"
)

func init() {
	for _, c := range []struct {
		name, usage, short string
		set                func(*cobra.Command)
	}{
		{"sim", "[--listen <addr>] [--model <name>] [--ttft <duration>] [--fault <kind>=<rate>]", "Runs a simulated vLLM server", cli.SimCommand},
		{"batch", "submit|list|show|wait|results|lines|line|estimate|pause|resume|priority|retry|cancel|delete|receipt|verify", "Works with batches on a running gateway", cli.BatchCommand},
		{"files", "list|upload|download|delete", "Works with files on a running gateway", cli.FilesCommand},
		{"keys", "create|list|limits|revoke|rotate", "Manages API keys of a running gateway", cli.KeysCommand},
		{"audit", "[--since <time>] [--until <time>] [--limit <count>] [--json]", "Lists who changed what on a running gateway", cli.AuditCommand},
		{"models", "[--server <url>] [--json]", "Lists the models of a running gateway", cli.ModelsCommand},
		{"upstreams", "[--server <url>] [--json]", "Lists the servers of a running gateway", cli.UpstreamsCommand},
		{"drain", "<url...> [--server <url>]", "Stops sending new requests to servers of a running gateway", cli.DrainCommand},
		{"undrain", "<url...> [--server <url>]", "Reverts drain", cli.UndrainCommand},
		{"contents", "adopt", "Joins contents and database of a running gateway", cli.ContentsCommand},
		{"doctor", "[--server <url>] [--json]", "Checks every part of a running gateway", cli.DoctorCommand},
		{"demo", "[--input <file>] [--output <file>] [--data <dir>] [--listen <addr>] [--once]", "Runs a batch on simulated servers", demoCommand},
	} {
		caddycmd.RegisterCommand(caddycmd.Command{
			Name: c.name, Usage: c.usage, Short: c.short,
			CobraFunc: func(cmd *cobra.Command) {
				c.set(cmd)
				if c.name != "sim" { // whose scripts override one value by another
					singly(cmd)
				}
				withExitCodes(cmd)
			},
		})
	}
}

// withExitCodes passes an error's own exit code, if it has one, on to the program.
func withExitCodes(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			err := run(cmd, args)
			if exit, ok := errors.AsType[*cli.ExitError](err); ok {
				fmt.Fprintln(cmd.ErrOrStderr(), "Error:", exit.Err)
				cmd.SilenceErrors = true
				return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exit.Code, nil })(cmd, args)
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		withExitCodes(sub)
	}
}

func demoCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate demo\n  tidegate demo --input batch.jsonl --output results.jsonl --once"
	f := cmd.Flags()
	var cfg cli.DemoConfig
	f.StringVar(&cfg.Input, "input", "", "file of requests (default: a sample of thousands; with --once of sixty)")
	f.StringVar(&cfg.Output, "output", "", "file for the results (default: results.jsonl in the data directory)")
	f.StringVar(&cfg.DataDir, "data", "", "data directory (default: a new temporary one)")
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "address of the gateway")
	f.BoolVar(&cfg.Once, "once", false, "run the batch without live users beside it, and end with it; the status is 0 when every line has completed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cmd.SilenceUsage = true
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		cfg.Stdout, cfg.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
		cfg.StartGateway = startGateway
		defer func() { err = errors.Join(err, caddy.Stop()) }()
		return cli.Demo(ctx, cfg)
	}
}

// startGateway runs the gateway in this process, quietly.
func startGateway(o cli.GatewayOptions) (string, error) {
	serve := serveOptions{upstreams: o.Upstreams, listen: o.Listen, data: o.DataDir, maxNumSeqs: o.MaxNumSeqs}
	cfg, err := serve.config()
	if err != nil {
		return "", err
	}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{Level: zap.ErrorLevel.CapitalString()}}}}
	if o.History {
		if err := makeUpHistory(context.Background(), o.DataDir, o.Models); err != nil {
			return "", err
		}
	}
	if err := caddy.Run(cfg); err != nil {
		return "", err
	}
	return "http://" + strings.Replace(o.Listen, "localhost", "127.0.0.1", 1), nil
}
