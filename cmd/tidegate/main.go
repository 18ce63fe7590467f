// Command tidegate is Caddy with its standard modules and Tidegate's own.
package main

import (
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/tidegate/tidegate/caddymodule"
)

func main() {
	caddy.CustomBinaryName = "tidegate"
	caddy.CustomLongDescription = `Tidegate is one gateway for live and batch traffic in front of vLLM servers: it
balances live OpenAI requests over a health-checked pool and executes
/v1/files and /v1/batches on the same pool.

	tidegate demo                            simulated servers, the gateway, a batch
	tidegate serve --upstream URL            the gateway without a configuration file
	tidegate run --config Caddyfile          the gateway as it is configured there
	tidegate batch submit FILE --wait        a batch on a running gateway

It is Caddy with modules of its own, so that all of Caddy's commands are here
too: https://caddyserver.com/docs/command-line`
	caddy.CustomVersion = "Tidegate " + caddymodule.Version() + ", Caddy"
	if caddymodule.AsksForHelp(os.Args[1:]) {
		if err := caddymodule.Help(os.Stdout); err != nil {
			os.Exit(1)
		}
		return
	}
	caddycmd.Main()
}
