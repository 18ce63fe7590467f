// Package failpoint makes parts of the gateway fail on purpose: it stands
// between the batch engine and its store, queue, files and pool, and before or
// after any call to them it kills the process or gives an error. Only a program
// built with the tag failpoints has it; see docs/testing.md.
package failpoint
