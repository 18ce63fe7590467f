// Package batchtest runs batch engines in tests. Harness is one engine with the drivers
// of a single gateway; Cluster is several engines that share a store and files. Both use
// Pool as their dispatcher, a simulated upstream whose answers a test sets.
package batchtest
