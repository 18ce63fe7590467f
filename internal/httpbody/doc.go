// Package httpbody reads the bodies of requests: it ends those that come too
// slowly and decodes those that are compressed. Its errors are *openai.Error,
// also those of reading.
package httpbody
