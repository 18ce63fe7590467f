// Package upload stores files that clients send, whole or in parts. It streams
// their content, decompresses files of requests, and makes rows only for content
// that is durable.
package upload
