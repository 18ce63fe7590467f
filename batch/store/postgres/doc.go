// Package postgres is a [batch.Store] in PostgreSQL 13 or newer, for any number
// of gateways.
//
// Statements work on sets: a group commit has the same few statements for every
// size. Rows are locked in one order, first batches and then slices by their number,
// so that instances do not deadlock. Where instances compete for work, they skip
// locked rows. Times are microseconds since the Unix epoch, by the database's
// clock.
package postgres
