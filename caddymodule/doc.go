// Package caddymodule integrates Tidegate with Caddy: the app, the handlers, the
// guest modules, the Caddyfile grammar and the commands. It connects the pool, the
// batch engine and their drivers, and contains no logic of its own.
package caddymodule
