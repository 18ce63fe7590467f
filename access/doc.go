// Package access describes clients and their rights: identities, scopes and API keys.
//
// A [Key] is what is stored of an API key. An [Identity] is the client of one request:
// the handlers at the edge put it into the request's context, and everything behind
// them reads it from there. A context without an identity has no rights.
package access
