// Package openai holds what OpenAI's API and Tidegate have in common: the
// objects of the wire, the error envelope, the reader of batch input files and
// the scanners that find usage in answers.
//
// The package does no I/O beyond the readers and writers it is given and
// imports nothing of Tidegate.
package openai
