package caddymodule

import "slices"

// generations are the settings of configurations that were started and not stopped,
// the newest last.
type generations[T any] []*T

func (g *generations[T]) add(s *T) { *g = append(*g, s) }

// remove removes a generation. If it was the newest, and so in force, it returns the
// settings to apply instead: those of the previous configuration, if a newer one
// failed to start. It returns nil if nothing has to be applied.
func (g *generations[T]) remove(s *T) *T {
	newest := g.last() == s
	*g = slices.DeleteFunc(*g, func(other *T) bool { return other == s })
	if newest {
		return g.last()
	}
	return nil
}

func (g *generations[T]) last() *T {
	if len(*g) == 0 {
		return nil
	}
	return (*g)[len(*g)-1]
}
