// Package batchtest holds what tests of batch engines and their drivers share.
package batchtest
