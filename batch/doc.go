// Package batch has the contracts of batch work: the types of files, uploads and
// batches, the states of a batch, the settings, the errors, and the interfaces of the
// drivers. It starts no goroutine.
//
// A [Store] (SQL) holds the truth, [Files] hold the contents, a [Queue] orders slices
// to claim next, and a [Dispatcher] sends requests to the model servers. Each driver
// interface has a conformance suite (store/storetest, queue/queuetest, files/filestest).
//
// The work is done in other packages: batch/scheduler runs lines, batch/upload takes
// files in, batch/engine puts the parts together, and batch/httpapi serves the API.
//
// The invariants (see docs/architecture.md for how each is kept):
//
//   - every line of an accepted batch ends exactly once in the output or the
//     error file;
//   - nothing is reported before it is durable;
//   - memory is bounded by configuration, not by the size of the work.
package batch
