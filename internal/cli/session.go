package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// ExitError ends the program with a specific exit status.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

const (
	// ExitIncomplete is the status when a batch ended, but not with every
	// line completed.
	ExitIncomplete = 2
	// ExitInterrupted is the status after Ctrl-C, as shells have it.
	ExitInterrupted = 128 + int(syscall.SIGINT)
)

// session is the shared state of client commands.
type session struct {
	*client.Client
	json bool
	out  io.Writer
	err  io.Writer
	in   io.Reader
	// named is the flag that names the gateway again, as in a hint.
	named string
	// patience is the time for which wait tolerates a gateway that does not respond.
	patience time.Duration
}

const (
	defaultServer   = "http://127.0.0.1:8080"
	defaultPatience = 5 * time.Minute
)

// addFlags adds the flags of every client command.
func addFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.String("server", "", "URL of the gateway (default: TIDEGATE_SERVER, else "+defaultServer+")")
	f.String("api-key", "", "key of the gateway (default: TIDEGATE_API_KEY)")
	f.Bool("json", false, "print JSON: the API's objects, one a line")
}

// group makes a command that has only sub-commands refuse unknown ones: cobra would print
// the help and succeed.
func group(cmd *cobra.Command) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		cmd.SuggestionsMinimumDistance = 2
		text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			text += "; did you mean " + strings.Join(similar, " or ") + "?"
		}
		return errors.New(text)
	}
}

// ids are arguments that name objects, as many as number allows.
func ids(number cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if slices.Contains(args, "") {
			return errors.New("an id is empty")
		}
		return number(cmd, args)
	}
}

// run makes a client command of a function. Its context ends with Ctrl-C.
func run(do func(ctx context.Context, s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true
		s, err := newSession(cmd)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second one ends the program at once
		return cleanly(interrupted(ctx, do(ctx, s, args)))
	}
}

// interrupted describes an error that is caused by the end of ctx.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	return &ExitError{ExitInterrupted, errors.New("interrupted")}
}

func newSession(cmd *cobra.Command) (*session, error) {
	f := cmd.Flags()
	server, err := f.GetString("server")
	if err != nil {
		return nil, err
	}
	key, err := f.GetString("api-key")
	if err != nil {
		return nil, err
	}
	asJSON, err := f.GetBool("json")
	if err != nil {
		return nil, err
	}
	s := &session{
		Client: &client.Client{}, json: asJSON, patience: defaultPatience,
		out: cmd.OutOrStdout(), err: terminal{cmd.ErrOrStderr()}, in: cmd.InOrStdin(),
	}
	source := "--server"
	switch env := os.Getenv("TIDEGATE_SERVER"); {
	case server != "":
		s.named = " --server " + server
	case env != "":
		server, source = env, "TIDEGATE_SERVER"
	default:
		server = defaultServer
	}
	if s.Server, err = parseServer(server); err != nil {
		return nil, fmt.Errorf("%s %q %w", source, server, err)
	}
	// A key from a file often ends in a newline.
	s.APIKey = strings.TrimSpace(firstOf(key, os.Getenv("TIDEGATE_API_KEY")))
	if strings.ContainsFunc(s.APIKey, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, errors.New("the API key has control characters in it")
	}
	return s, nil
}

// parseServer returns the URL of a gateway without /v1.
func parseServer(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("is no URL that begins with http:// or https://")
	case u.Hostname() == "":
		return "", errors.New("names no host")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("must end with its path")
	}
	u.Path = strings.TrimRight(strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/v1"), "/")
	u.RawPath = ""
	return u.String(), nil
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// oneOf returns an error if the value of a flag is not allowed.
func oneOf(flag, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s %q must be one of %s", flag, value, strings.Join(allowed, ", "))
}

func checkLimit(n int) error {
	if n < 0 {
		return fmt.Errorf("--limit %d must not be negative; 0 is for all", n)
	}
	return nil
}

// print writes v as JSON, or the output of text.
func (s *session) print(v any, text func(io.Writer)) error {
	if !s.json {
		text(terminal{s.out})
		return nil
	}
	return writeJSON(s.out, v)
}

// each calls do with every id. With several ids it continues after a failure, unless the
// gateway is unreachable.
func (s *session) each(ctx context.Context, ids []string, do func(id string) error) error {
	if len(ids) == 1 {
		return do(ids[0])
	}
	failed := 0
	for _, id := range ids {
		err := do(id)
		if err == nil {
			continue
		}
		if _, gone := errors.AsType[*client.UnreachableError](err); gone || ctx.Err() != nil {
			return err
		}
		fmt.Fprintln(s.err, "Error:", err)
		failed++
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d failed", failed, len(ids))
	}
	return nil
}

var (
	errNotConfirmed = errors.New("not confirmed; nothing was deleted")
	errNotAdopted   = errors.New("not confirmed; nothing was adopted")
)

// confirm asks for confirmation of a deletion.
func (s *session) confirm(ctx context.Context, yes bool, question string) error {
	return s.ask(ctx, yes, question, errNotConfirmed)
}

// ask asks for confirmation of an irreversible action, and returns refused unless the
// answer is yes. Without a terminal --yes is required.
func (s *session) ask(ctx context.Context, yes bool, question string, refused error) error {
	if yes {
		return nil
	}
	f, ok := s.in.(*os.File)
	if ok && !isatty.IsTerminal(f.Fd()) {
		return errors.New("this has no way back: give --yes")
	}
	fmt.Fprintf(s.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(&interruptible{ctx: ctx, r: s.in}).ReadString('\n')
	if err != nil {
		fmt.Fprintln(s.err) // the prompt's line is not ended
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the answer: %w", err)
		}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return refused
	}
}
