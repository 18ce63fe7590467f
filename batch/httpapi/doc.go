// Package httpapi serves files, uploads and batches as OpenAI's API has them
// (https://platform.openai.com/docs/api-reference/batch), and the reports of the
// batch server BESH: everything below /v1/files, /v1/uploads, /v1/batches,
// /v1/dashboard and /v1/analytics, as one http.Handler.
package httpapi
