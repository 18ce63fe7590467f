// Package guardrail asks an HTTP service whether a request may be sent to a model. The
// service lets a request pass, rejects it, or replaces its body.
package guardrail
