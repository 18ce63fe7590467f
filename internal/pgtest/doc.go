// Package pgtest starts a real PostgreSQL for tests, as a process with a temporary
// directory on a loopback port, and stops it after the tests.
package pgtest
