// Package store has the code that drivers of [batch.Store] share: the format of
// segments, the arithmetic of a group commit, common columns and the scanning of
// their rows, the encoding of values without a column type, and schema
// migrations. It is independent of the SQL dialect: each driver has its own
// statements.
//
// The drivers are sqlite and postgres. Both pass the suite storetest.
package store
