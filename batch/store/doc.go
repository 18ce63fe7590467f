// Package store is what drivers of [batch.Store] share: the format of
// segments, the arithmetic of a group commit, and how values that have no
// column type are written. Nothing in it knows a dialect.
//
// The drivers are sqlite and postgres; storetest is the suite that both pass.
package store
