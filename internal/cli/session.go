package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
)

// ExitError ends the program with a status of its own.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string { return e.Err.Error() }
func (e *ExitError) Unwrap() error { return e.Err }

// ExitIncomplete is the status when a batch ended, but not with every line
// completed.
const ExitIncomplete = 2

// exitInterrupted is the status when somebody did not want to wait, as a shell
// has it for Ctrl-C.
const exitInterrupted = 130

// session is what every client command has.
type session struct {
	*client.Client
	ctx  context.Context // ends with Ctrl-C
	json bool
	out  io.Writer
	err  io.Writer
	in   io.Reader
}

const defaultServer = "http://127.0.0.1:8080"

// addFlags adds the flags of every client command.
func addFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.String("server", "", "URL of the gateway (default: TIDEGATE_SERVER, else "+defaultServer+")")
	f.String("api-key", "", "key of the gateway (default: TIDEGATE_API_KEY)")
	f.Bool("json", false, "print JSON: the API's objects, one a line")
}

func newSession(cmd *cobra.Command) (*session, error) {
	cmd.SilenceUsage = true
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
	server = firstOf(server, os.Getenv("TIDEGATE_SERVER"), defaultServer)
	if !strings.HasPrefix(server, "http://") && !strings.HasPrefix(server, "https://") {
		return nil, fmt.Errorf("--server %q must begin with http:// or https://", server)
	}
	server = strings.TrimSuffix(strings.TrimSuffix(server, "/"), "/v1")
	// Until the program ends: nothing else is to be done with these signals.
	ctx, _ := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	return &session{
		ctx:    ctx,
		Client: &client.Client{Server: server, APIKey: firstOf(key, os.Getenv("TIDEGATE_API_KEY"))},
		json:   asJSON, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), in: cmd.InOrStdin(),
	}, nil
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// oneOf refuses a value that is neither empty nor known.
func oneOf(flag, value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return fmt.Errorf("%s %q is none of %s", flag, value, strings.Join(known, ", "))
}

func notNegative(flag string, n int) error {
	if n < 0 {
		return fmt.Errorf("%s %d is negative", flag, n)
	}
	return nil
}

// print writes v as JSON, or what text writes.
func (s *session) print(v any, text func(io.Writer)) error {
	if !s.json {
		text(s.out)
		return nil
	}
	return json.NewEncoder(s.out).Encode(v)
}

var errNotConfirmed = errors.New("not confirmed; nothing was deleted")

// confirm asks before something is destroyed. Without a terminal --yes is
// needed.
func (s *session) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	f, ok := s.in.(*os.File)
	if ok && !isatty.IsTerminal(f.Fd()) {
		return errors.New("this deletes without a way back: give --yes")
	}
	fmt.Fprintf(s.err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return errNotConfirmed
	}
}
