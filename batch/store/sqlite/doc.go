// Package sqlite keeps the truth of batches in one SQLite file: the store that
// needs no server beside the gateway.
//
// One process has the database open at a time; a lock file beside it says so.
// Writes go through one connection, reads through a few others that see the
// last committed state (WAL). A commit is synced to disk before it is reported
// (synchronous=FULL).
//
// Space that deleted rows leave is used again. What is free beyond a reserve
// is given back to the file system by DropWork, a little each time, and the
// write-ahead log is cut to 64 MiB after it has been larger.
package sqlite
