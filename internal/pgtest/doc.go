// Package pgtest starts a real PostgreSQL for tests, as a process in a directory
// of its own on a loopback port, and ends it with them.
package pgtest
