// Package scheduler sends the lines of active batches to free slots of the upstreams and
// makes their results durable.
//
// The path of a line, by the types that own each step:
//
//   - refreshes: the store returns the active batches;
//   - rotation: a bounded number of these get a place, that is a batchQueue;
//   - loader: slices of it are claimed, and their requests read, before they are needed;
//   - queueSet, batchQueue: its lines wait by model, with leases on their slices;
//   - picker: a line and an upstream with a free slot are chosen;
//   - attempt: the line is sent, and an outcome comes back;
//   - deadlines: a line that is to be retried waits for the end of its backoff;
//   - committer: results are committed in groups, and those of stale claims refused;
//   - releases: slices that this gateway cannot run, or that idle peers could, are given up;
//   - pendingReleases: that is repeated until the store has released them.
//
// A [Scheduler] is one goroutine, the loop, which owns all of these except attempts, loads
// and the committer, and starts what each round of them allows. Around the path, models
// tracks what has no upstream or too few slots, outage whether the store answers,
// circuitBreaker batches whose lines fail in a row, and memoryPressure idle slots.
package scheduler
