package caddymodule

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// singly rejects repeated flags of a command and its subcommands, except for list
// flags: otherwise the first of two values would be silently ignored.
func singly(cmd *cobra.Command) {
	for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			switch f.Value.(type) {
			case pflag.SliceValue, *onceValue:
			default:
				f.Value = &onceValue{Value: f.Value}
			}
		})
	}
	for _, sub := range cmd.Commands() {
		singly(sub)
	}
}

var errGivenAgain = errors.New("the flag is given more than once")

// onceValue is the value of a flag that may be given once.
type onceValue struct {
	pflag.Value
	given bool
}

// Set sets the value, and returns an error the second time.
func (v *onceValue) Set(text string) error {
	if v.given {
		return errGivenAgain
	}
	v.given = true
	return v.Value.Set(text)
}
