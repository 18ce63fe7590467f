// Package httpbody reads request bodies: it ends bodies that arrive too slowly and decodes
// compressed ones. All of its errors, including those of reads, are *openai.Error.
package httpbody
