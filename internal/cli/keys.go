package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// KeysCommand sets up `tidegate keys`.
func KeysCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate keys create team-a --tenant team-a\n  tidegate keys list"
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(keysCreate(), keysList(), keysRevoke(), keysRotate())
}

func keysCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create <name>", Short: "Creates an API key and shows it once", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate keys create team-a --tenant team-a --scopes live,batch --models llama-70b --ttl 720h",
	}
	f := cmd.Flags()
	tenant := f.String("tenant", "", "owner of what the key makes (default: the tenant of your key)")
	scopes := f.StringSlice("scopes", nil, "live, batch, read, operate, admin (default: live,batch)")
	models := f.StringSlice("models", nil, "models that it may use (default: every model)")
	ttl := f.Duration("ttl", 0, "how long it is valid (default: for ever)")
	limits := limitFlags(cmd)
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		request := client.NewKey{Name: args[0], Tenant: *tenant, Scopes: *scopes, Models: *models, Limits: limits()}
		if *ttl < 0 {
			return errors.New("--ttl must not be negative")
		}
		if *ttl > 0 {
			request.ExpiresAt = time.Now().Add(*ttl).Unix()
		}
		k, err := s.CreateKey(ctx, request)
		if err != nil {
			return fmt.Errorf("creating key: %w", err)
		}
		return s.showKey(k)
	})
	return cmd
}

// limitFlags adds a flag for each limit, and returns a function that returns those that
// are set.
func limitFlags(cmd *cobra.Command) func() map[string]json.Number {
	values := make(map[string]*int64)
	cost := cmd.Flags().String("cost-per-month", "", "budget of cost per calendar month in UTC, such as 12.50 (default: no limit)")
	for _, limit := range []struct{ flag, name, usage string }{
		{"rpm", "requests_per_minute", "requests and lines of batches per minute"},
		{"tpm", "tokens_per_minute", "tokens per minute"},
		{"in-flight", "requests_in_flight", "requests and lines of batches in flight"},
		{"lines-queued", "lines_queued", "waiting lines of batches"},
		{"tokens-queued", "tokens_queued", "estimated tokens of waiting lines"},
		{"batches-per-hour", "batches_per_hour", "new batches per hour"},
		{"tokens-per-month", "tokens_per_month", "tokens per calendar month in UTC"},
	} {
		values[limit.name] = cmd.Flags().Int64(limit.flag, 0, "limit of "+limit.usage+" (default: no limit)")
	}
	return func() map[string]json.Number {
		set := make(map[string]json.Number)
		for name, value := range values {
			if *value != 0 {
				set[name] = json.Number(strconv.FormatInt(*value, 10))
			}
		}
		if *cost != "" {
			set["cost_per_month"] = json.Number(*cost)
		}
		return set
	}
}

// showKey prints a new key alone on standard output, so that scripts can store it.
func (s *session) showKey(k client.Key) error {
	if !s.json {
		fmt.Fprintf(s.err, "%s (%s) of the tenant %s. It is not shown again:\n", clean(k.ID), clean(k.Name), clean(k.Tenant))
	}
	return s.print(k, func(w io.Writer) { fmt.Fprintln(w, clean(k.Key)) })
}

func keysList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists API keys, newest first", Args: cobra.NoArgs, Example: "  tidegate keys list"}
	all := cmd.Flags().Bool("all", false, "revoked and expired ones, too")
	cmd.RunE = run(func(ctx context.Context, s *session, _ []string) error {
		keys, err := s.Keys(ctx)
		if err != nil {
			return err
		}
		l := s.newList("ID\tNAME\tTENANT\tSCOPES\tMODELS\tAGE\tSTATE", 0)
		for _, k := range keys {
			state := keyState(k, time.Now())
			if state != "valid" && !*all {
				continue
			}
			models := "every"
			if len(k.Models) > 0 {
				models = clean(strings.Join(k.Models, ","))
			}
			l.add(k, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(k.ID), clean(k.Name), clean(k.Tenant), clean(strings.Join(k.Scopes, ",")), models, age(k.CreatedAt, time.Now()), state)
		}
		return l.end(nil)
	})
	return cmd
}

func keyState(k client.Key, now time.Time) string {
	switch {
	case k.RevokedAt != nil:
		return "revoked"
	case k.ExpiresAt != nil && *k.ExpiresAt <= now.Unix():
		return "expired"
	default:
		return "valid"
	}
}

func keysRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke <id...>", Short: "Revokes API keys, on all gateways within 5 s", Args: ids(cobra.MinimumNArgs(1)),
		Example: "  tidegate keys revoke key_0123",
	}
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		return s.each(ctx, args, func(id string) error {
			k, err := s.RevokeKey(ctx, id)
			if err != nil {
				return fmt.Errorf("revoking %s: %w", id, err)
			}
			return s.print(k, func(w io.Writer) { fmt.Fprintf(w, "revoked %s (%s)\n", clean(k.ID), clean(k.Name)) })
		})
	})
	return cmd
}

func keysRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate <id>", Short: "Replaces an API key and shows the new one once", Args: ids(cobra.ExactArgs(1)),
		Example: "  tidegate keys rotate key_0123 --overlap 24h",
	}
	overlap := cmd.Flags().Duration("overlap", 0, "how long the previous key is still accepted, at most 720h")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		k, err := s.RotateKey(ctx, args[0], int64(*overlap/time.Second))
		if err != nil {
			return fmt.Errorf("rotating %s: %w", args[0], err)
		}
		return s.showKey(k)
	})
	return cmd
}
