// Package tidegate brings Tidegate's modules into a build of Caddy:
//
//	xcaddy build --with github.com/tidegate/tidegate
package tidegate

import _ "github.com/tidegate/tidegate/caddymodule" // registers the modules
