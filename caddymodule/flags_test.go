package caddymodule

import (
	"errors"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every flag of the gateway's commands that is no list is refused the second time.
func TestFlagsOnce(t *testing.T) {
	seen := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				seen++
				first, second := set.Set(f.Name, f.DefValue), set.Set(f.Name, f.DefValue)
				_, list := f.Value.(pflag.SliceValue)
				if again := errors.Is(second, errGivenAgain); again == list || errors.Is(first, errGivenAgain) {
					t.Errorf("%s --%s (a list: %t): got %v and %v", cmd.Name(), f.Name, list, first, second)
				}
			})
		}
		for _, sub := range cmd.Commands() {
			check(sub)
		}
	}
	commands := caddycmd.Commands()
	for _, name := range []string{"serve", "demo", "batch", "files", "models", "upstreams", "drain", "undrain", "contents", "doctor"} {
		cmd := &cobra.Command{Use: name}
		commands[name].CobraFunc(cmd)
		check(cmd)
	}
	if seen < 40 {
		t.Errorf("got only %d flags", seen)
	}
}
