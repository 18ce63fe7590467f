// Package caddymodule is Tidegate's face to Caddy: the app, the handlers, the
// guest modules, the Caddyfile grammar and the commands. It wires the pool, the
// batch engine and their drivers together and has no logic of its own.
package caddymodule
