// Package templates is what the dashboard looks like: views in templ, the
// models that they show, and the assets that pages refer to. Nothing here does
// any I/O, and nothing knows the gateway: the dashboard fills the models.
//
// Generated files are committed; `go tool -modfile=tools/go.mod templ generate`
// makes them anew.
package templates

//go:generate go tool -modfile=../tools/go.mod templ generate
