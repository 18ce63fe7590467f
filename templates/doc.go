// Package templates is what the dashboard looks like: views in templ, the
// models that they show, and the assets that pages refer to. Nothing here does
// any I/O, and nothing knows the gateway: the dashboard fills the models.
//
// Generated files are committed; `go generate ./templates` makes them anew, and
// scripts/test holds that they are what the pinned templ generates.
package templates

//go:generate sh -c "cd .. && go tool -modfile=tools/go.mod templ generate"
