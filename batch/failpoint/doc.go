// Package failpoint makes parts of the gateway fail on purpose. It wraps the
// store, queue, files and pool of the batch engine; before or after any call to
// them it kills the process or returns an error. Only a program built with the
// tag failpoints contains it; see docs/testing.md.
package failpoint

import "slices"

//go:generate go run ./generate

// Calls returns the calls that can fail, each before and after.
func Calls() []string { return slices.Clone(calls) }
