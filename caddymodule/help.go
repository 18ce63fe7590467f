package caddymodule

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// ownCommands lists Tidegate's own commands in the order of the help.
var ownCommands = []string{"serve", "demo", "batch", "files", "keys", "audit", "models", "upstreams", "drain", "undrain", "doctor", "contents", "sim"}

// AsksForHelp reports whether the arguments request the help of the program itself
// and not of one of its commands.
func AsksForHelp(args []string) bool {
	if len(args) == 0 {
		return true
	}
	return len(args) == 1 && slices.Contains([]string{"help", "--help", "-h"}, args[0])
}

// Help writes the purpose of the program and its commands. Caddy's own help would
// list them in one alphabetical list with Caddy's commands.
func Help(w io.Writer) error {
	fmt.Fprint(w, `Tidegate is one gateway for live and batch traffic in front of vLLM servers: it
balances live OpenAI requests over a health-checked pool and executes
/v1/files and /v1/batches on the same pool.

Usage:
  tidegate <command> [flags]

Examples:
  tidegate demo
  tidegate serve --upstream http://gpu-0:8000
  tidegate run --config Caddyfile
  tidegate batch submit batch.jsonl --wait --output results.jsonl

Commands:
`)
	all := caddycmd.Commands()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var theirs []string
	for name := range all {
		if !slices.Contains(ownCommands, name) {
			theirs = append(theirs, name)
		}
	}
	slices.Sort(theirs)
	list := func(names []string) {
		for _, name := range names {
			if c, there := all[name]; there {
				fmt.Fprintf(table, "  %s\t%s\n", name, c.Short)
			}
		}
	}
	list(ownCommands)
	fmt.Fprintln(table, "\nCommands of Caddy, which Tidegate is a build of:")
	list(theirs)
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, "\n\"tidegate <command> --help\" says more about a command.\n")
	return err
}
