package caddymodule

import (
	"os"
	"slices"
	"strings"
)

// variablePrefix begins the names of the gateway's environment variables.
const variablePrefix = "TIDEGATE_"

// Caddy takes a variable that is set to nothing at its word: `bind {$TIDEGATE_BIND:127.0.0.1}`
// becomes `bind`, which listens nowhere, and `admin` alone is Caddy's default
// address. Compose files and lists of variables set what they do not use to nothing.
// Such a variable counts as not set, before any configuration is read.
func init() {
	for _, name := range emptyVariables() {
		_ = os.Unsetenv(name) // the name is one that the environment has
	}
}

// emptyVariables returns the gateway's variables that are set to nothing, sorted.
func emptyVariables() (names []string) {
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, variablePrefix) && strings.TrimSpace(value) == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// envPlaceholder returns the parts of {env.NAME} and {env.NAME:fallback}. The
// fallback counts where the variable is not set or empty. It is this program's own:
// Caddy's placeholders have none.
func envPlaceholder(value string) (name, fallback string, optional, ok bool) {
	rest, ok := strings.CutPrefix(value, "{env.")
	rest, closed := strings.CutSuffix(rest, "}")
	if !ok || !closed || strings.ContainsAny(rest, "{}") {
		return "", "", false, false
	}
	name, fallback, optional = strings.Cut(rest, ":")
	return name, fallback, optional, true
}

// variable returns the value of an environment variable, or fallback where it is not
// set or empty.
func variable(name, fallback string) string {
	if value := os.Getenv(name); strings.TrimSpace(value) != "" {
		return value
	}
	return fallback
}
