// Package redistest runs a real Redis (or Valkey) server for tests: a process on a free
// loopback port, with its files in a temporary directory and without persistence. It is
// killed at any end of the test's process. A missing program fails the test; no test is
// skipped.
package redistest
