// Package batchtest runs batch engines in tests. Harness is one engine with the drivers
// of a single gateway; Cluster is several engines that share a store and files. Both use
// Pool as their dispatcher, a simulated upstream that answers as the test says.
package batchtest
