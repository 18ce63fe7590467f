// Command tidegate is Caddy with its standard modules and Tidegate's own.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/tidegate/tidegate/caddymodule"
)

func main() {
	caddycmd.Main()
}
