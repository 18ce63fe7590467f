// Package batch is the batch engine: files, uploads and batches of requests,
// how they are validated, queued, run, finished and forgotten.
//
// Its truth is in a [Store] (SQL), the contents of files are in [Files], and a
// [Queue] says which slice to look at next. Requests go to the model servers
// through a [Dispatcher]. The four interfaces are what drivers implement; each
// has a conformance suite (store/storetest, queue/queuetest, files/filestest).
//
// The invariants (docs/architecture.md says how each is kept):
//
//   - every line of an accepted batch ends exactly once in the output or the
//     error file;
//   - nothing is reported before it is durable;
//   - memory is bounded by configuration, not by the size of the work.
package batch
