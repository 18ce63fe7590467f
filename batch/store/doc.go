// Package store is what drivers of [batch.Store] share: the format of
// segments, the arithmetic of a group commit, the columns that their tables
// have in common and how rows of them are read, how values that have no column
// type are written, the steps of a schema. Nothing in it knows a dialect: a
// driver's statements are its own.
//
// The drivers are sqlite and postgres; storetest is the suite that both pass.
package store
