// Package redis is a batch.Queue in Redis streams, for Redis 6.2 or newer and Valkey: a
// single server, a cluster, or a master found by Sentinel.
//
// Each batch has one stream, "tidegate:{BATCH}:slices", whose entries hold the number of
// a slice, and one consumer group with a consumer for each gateway. The braces are a
// cluster's hash tag: all commands of a batch go to one node. Entries are read with
// XREADGROUP and removed with XACK and XDEL; those of a dead gateway are claimed with
// XAUTOCLAIM. Gateways wake each other on the channel "tidegate:wake".
//
// The store is authoritative for unfinished slices. So missing or wrong data on the
// server is not an error and is created again: a missing stream or group, a key of
// another type. While the server is unreachable, each method fails within its timeout;
// it works again as soon as the server does.
//
// # Permissions
//
// A user of the access control list needs these permissions, for the default prefix;
// Open tries each command and returns an error if one is not permitted:
//
//	ACL SETUSER gateway on >PASSWORD resetchannels ~tidegate:* &tidegate:wake -@all
//	    +hello +auth +select +ping +xgroup +xadd +pexpire +xreadgroup +xautoclaim
//	    +xack +xdel +del +publish +subscribe +unsubscribe
//
// With +info and +config|get it also detects an old version and an evicting
// maxmemory-policy. A cluster also needs +cluster.
package redis
