package caddymodule

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	caddy := debug.Module{Path: "caddy", Version: "v0.0.1"}
	for name, tt := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"the program itself": {debug.BuildInfo{Main: debug.Module{Path: modulePath, Version: "v1.2.3"}}, "v1.2.3"},
		"a plugin":           {debug.BuildInfo{Main: caddy, Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.4"}}}, "v1.2.4"},
		"a replaced plugin":  {debug.BuildInfo{Main: caddy, Deps: []*debug.Module{{Path: modulePath, Version: "v1", Replace: &debug.Module{Path: "../x", Version: "v9"}}}}, "v9"},
		"a directory":        {debug.BuildInfo{Main: caddy, Deps: []*debug.Module{{Path: modulePath, Version: "v1", Replace: &debug.Module{Path: "../x"}}}}, "(unknown)"},
		"none":               {debug.BuildInfo{}, "(unknown)"},
	} {
		if got := versionIn(&tt.info); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
