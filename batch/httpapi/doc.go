// Package httpapi serves files, uploads and batches as OpenAI's API has them
// (https://platform.openai.com/docs/api-reference/batch): everything below
// /v1/files, /v1/uploads and /v1/batches, as one http.Handler.
package httpapi
