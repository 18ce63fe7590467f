package caddymodule

import "runtime/debug"

// modulePath is the module that this package is part of.
const modulePath = "github.com/tidegate/tidegate"

// buildVersion is set by the linker where the build knows a version that Go does not,
// such as in an image: -ldflags '-X github.com/tidegate/tidegate/caddymodule.buildVersion=v1.2.3'.
var buildVersion string

// Version returns the version of the gateway that the program was built from, or
// "(unknown)". In a Caddy built with the gateway as a plugin it is the plugin's
// version.
func Version() string {
	if buildVersion != "" {
		return buildVersion
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return versionIn(info)
}

const unknownVersion = "(unknown)"

func versionIn(info *debug.BuildInfo) string {
	of := info.Main
	for _, dependency := range info.Deps {
		if dependency.Path == modulePath {
			of = *dependency
			if of.Replace != nil {
				of = *of.Replace
			}
		}
	}
	if of.Version == "" {
		return unknownVersion
	}
	return of.Version
}
