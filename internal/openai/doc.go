// Package openai implements the parts of OpenAI's API that Tidegate needs: wire objects,
// the error envelope, the reader of batch input files and the scanners for usage in
// responses.
//
// The package does no I/O except with given readers and writers, and imports no other
// package of Tidegate.
package openai
