// Package redis is a batch.Queue in Redis streams, for Redis 6.2 or newer and
// Valkey: a single server, a cluster, or what Sentinel names.
//
// Each batch has one stream, "tidegate:{BATCH}:slices", whose entries hold
// nothing but the number of a slice, and on it one consumer group with a
// consumer for each gateway. The braces are a cluster's hash tag: all commands
// of a batch go to one node. Entries are read with XREADGROUP, taken out with
// XACK and XDEL, and those of a gateway that died are taken over by XAUTOCLAIM.
// Gateways wake each other on the channel "tidegate:wake".
//
// Nothing here is the truth: the store knows which slices are unfinished. So
// whatever is missing or wrong on the server is made anew and not an error: a
// stream or a group that is gone, a key of another type. When the server cannot
// be reached, each method fails within its timeout, and works again as soon as
// the server does.
//
// # Permissions
//
// A user of the access control list needs no more than this, for the default
// prefix; Open tries each of the commands and refuses a user who lacks one:
//
//	ACL SETUSER gateway on >PASSWORD resetchannels ~tidegate:* &tidegate:wake -@all
//	    +hello +auth +select +ping +xgroup +xadd +pexpire +xreadgroup +xautoclaim
//	    +xack +xdel +del +publish +subscribe +unsubscribe
//
// With +info and +config|get it is also told of an old version and of a
// maxmemory-policy that evicts. On a cluster +cluster is needed, too.
package redis
