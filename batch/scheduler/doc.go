// Package scheduler sends the lines of active batches to free slots of the upstreams and
// makes their results durable.
//
// A [Scheduler] admits a bounded number of batches at a time (rotation), claims slices of
// each and reads them ahead of need (batch_queue), starts lines by priority and fairness
// (dispatch), retries them with backoff, and commits results in groups (committer). It
// keeps its claims alive (leases), and releases slices that this gateway cannot run
// (stalled, rebalance, pause, release).
package scheduler
