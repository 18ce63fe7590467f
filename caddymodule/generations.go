package caddymodule

import "slices"

// generations are the settings of configurations that have started and not
// stopped, the newest last.
type generations[T any] []*T

func (g *generations[T]) add(s *T) { *g = append(*g, s) }

// remove takes one away. If it was the newest, and so in force, it gives those
// that are in force again: of the configuration before, when a newer one failed
// to start. It is nil when nothing is to be applied.
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
