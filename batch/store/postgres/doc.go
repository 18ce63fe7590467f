// Package postgres is a [batch.Store] in PostgreSQL 13 or newer, for any number
// of gateways.
//
// A statement works on sets: a group commit is the same handful of statements
// whatever its size. Rows are locked in one order, batches by their number and
// then slices by theirs, so that instances do not deadlock; where they compete
// for work, they skip what another has locked. Times are microseconds since the
// Unix epoch, by the database's clock.
package postgres
