// Package templates contains the dashboard's views in templ, their models, and the
// assets of the pages. It does no I/O and does not depend on the gateway: the
// dashboard fills the models.
//
// Generated files are committed; `go tool -modfile=tools/go.mod templ generate`
// regenerates them.
package templates

//go:generate go tool -modfile=../tools/go.mod templ generate
