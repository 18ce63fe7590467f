package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/limitname"
)

// KeysCommand sets up `tidegate keys`.
func KeysCommand(cmd *cobra.Command) {
	cmd.Example = "  tidegate keys create team-a --tenant team-a\n  tidegate keys list"
	addFlags(cmd)
	group(cmd)
	cmd.AddCommand(keysCreate(), keysList(), keysLimits(), keysRevoke(), keysRotate())
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
	limitFlags(cmd, "no limit")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		request := client.NewKey{Name: args[0], Tenant: *tenant, Scopes: *scopes, Models: *models, Limits: limitsOf(cmd)}
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

// limitFlags adds a flag for each limit.
func limitFlags(cmd *cobra.Command, otherwise string) {
	for _, limit := range limitname.All {
		usage := "limit of " + limit.About + " (default: " + otherwise + ")"
		if limit.Money {
			cmd.Flags().String(limit.Flag, "", usage)
		} else {
			cmd.Flags().Int64(limit.Flag, 0, usage)
		}
	}
}

// limitsOf returns the limits whose flags are set, by their names.
func limitsOf(cmd *cobra.Command) map[string]json.Number {
	set := make(map[string]json.Number)
	for _, limit := range limitname.All {
		if f := cmd.Flags().Lookup(limit.Flag); f.Changed {
			set[limit.Word] = json.Number(f.Value.String())
		}
	}
	return set
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
		l := s.newList("ID\tNAME\tTENANT\tSCOPES\tMODELS\tAGE\tSTATE\tLIMITS", 0)
		for _, k := range keys {
			state := keyState(k, time.Now())
			if state != "valid" && !*all {
				continue
			}
			models := "every"
			if len(k.Models) > 0 {
				models = clean(strings.Join(k.Models, ","))
			}
			l.add(k, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", clean(k.ID), clean(k.Name), clean(k.Tenant), clean(strings.Join(k.Scopes, ",")), models, age(k.CreatedAt, time.Now()), state, limitTexts(k))
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

func keysLimits() *cobra.Command {
	cmd := &cobra.Command{
		Use: "limits <id>", Short: "Shows or changes limits of an API key", Args: ids(cobra.ExactArgs(1)),
		Long:    "Changes the limits of an API key that are named, on all gateways within 5 s.\n\nThe others remain; 0 removes a limit. What the key has used counts. Without a flag it shows the limits.",
		Example: "  tidegate keys limits key_0123\n  tidegate keys limits key_0123 --rpm 600 --cost-per-month 0",
	}
	limitFlags(cmd, "unchanged")
	cmd.RunE = run(func(ctx context.Context, s *session, args []string) error {
		var k client.Key
		var err error
		if change := limitsOf(cmd); len(change) > 0 {
			if k, err = s.ChangeKeyLimits(ctx, args[0], change); err != nil {
				return fmt.Errorf("changing limits of %s: %w", args[0], err)
			}
		} else if k, err = s.Key(ctx, args[0]); err != nil {
			return fmt.Errorf("reading limits of %s: %w", args[0], err)
		}
		return s.print(k, func(w io.Writer) {
			fmt.Fprintf(w, "limits of %s (%s): %s\n", clean(k.ID), clean(k.Name), limitTexts(k))
		})
	})
	return cmd
}

// limitTexts returns the limits of a key as they are configured.
func limitTexts(k client.Key) string {
	var texts []string
	for _, limit := range limitname.All {
		if value, ok := k.Limits[limit.Word]; ok {
			texts = append(texts, limit.Word+" "+clean(value.String()))
		}
	}
	if texts == nil {
		return "none"
	}
	return strings.Join(texts, ", ")
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
