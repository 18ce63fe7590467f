package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// ModelsCommand sets up `tidegate models`.
func ModelsCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Example = "  tidegate models\n  tidegate models --json"
	addFlags(cmd)
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		models, err := s.Models(ctx)
		if err != nil {
			return err
		}
		l := s.newList("MODEL\tMAX LENGTH", 0)
		for _, m := range models {
			length := "-"
			if m.MaxModelLen > 0 {
				length = fmt.Sprintf("%d tokens", m.MaxModelLen)
			}
			l.add(m, "%s\t%s\n", clean(m.ID), length)
		}
		return l.end(nil)
	})
}

// UpstreamsCommand sets up `tidegate upstreams`.
func UpstreamsCommand(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Example = "  tidegate upstreams"
	addFlags(cmd)
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		all, err := s.Upstreams(ctx)
		if err != nil {
			return err
		}
		return s.listUpstreams(all)
	})
}

func (s *session) listUpstreams(all []client.Upstream) error {
	l := s.newList("URL\tSTATE\tLIVE\tBATCH\tMODELS\tREASON", 0)
	for _, u := range all {
		l.add(u, "%s\t%s\t%d\t%d\t%s\t%s\n", clean(u.URL), upstreamState(u), u.LiveInFlight, u.BatchInFlight,
			clean(strings.Join(u.Models, ", ")), orDash(&u.Reason))
	}
	return l.end(nil)
}

// upstreamState returns the state of a server for output, including that it drains.
func upstreamState(u client.Upstream) string {
	if u.Draining && u.State != "draining" {
		return clean(u.State) + " (draining)"
	}
	return clean(u.State)
}

// DrainCommand sets up `tidegate drain`.
func DrainCommand(cmd *cobra.Command) {
	cmd.Long = "Keeps new requests from servers, named by their URL, until they are undrained, and\nlists all servers. Running requests finish: LIVE and BATCH count them."
	drainCommand(cmd, "drain", "draining", (*client.Client).Drain)
}

// UndrainCommand sets up `tidegate undrain`.
func UndrainCommand(cmd *cobra.Command) {
	drainCommand(cmd, "undrain", "undraining", (*client.Client).Undrain)
}

func drainCommand(cmd *cobra.Command, verb, gerund string, change func(*client.Client, context.Context, string) ([]client.Upstream, error)) {
	cmd.Args = ids(cobra.MinimumNArgs(1))
	cmd.Example = "  tidegate " + verb + " http://gpu-0:8000"
	addFlags(cmd)
	cmd.RunE = run(func(ctx context.Context, s *session, urls []string) error {
		var all []client.Upstream
		if err := s.each(ctx, urls, func(url string) (err error) {
			if all, err = change(s.Client, ctx, url); err != nil {
				return fmt.Errorf("%s %s: %w", gerund, url, err)
			}
			return nil
		}); err != nil {
			return err
		}
		return s.listUpstreams(all)
	})
}
