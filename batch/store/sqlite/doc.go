// Package sqlite is a [batch.Store] in one SQLite file, which needs no database
// server.
//
// One process at a time can open the database, which a lock file ensures. Writes
// use one connection, reads a few others that see the last committed state (WAL). A
// commit is synced to disk before it is reported (synchronous=FULL).
//
// Space of deleted rows is reused. DropWork releases free space beyond a reserve to
// the file system in small steps, and the write-ahead log is truncated to 64 MiB
// after it was larger.
package sqlite
