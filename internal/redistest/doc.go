// Package redistest runs a real Redis (or Valkey) server for tests: a process
// of its own on a free port of the loopback interface, with its files in a
// temporary directory and nothing kept. It is killed with the test's process,
// however that ends. A machine without the program fails the test; nothing is
// skipped.
package redistest
