package caddymodule

import (
	"os"
	"slices"
	"strings"
)

// variablePrefix begins the names of the gateway's environment variables.
const variablePrefix = "TIDEGATE_"

// Caddy expands an empty variable literally: `bind {$TIDEGATE_BIND:127.0.0.1}`
// becomes `bind`, which listens nowhere, and `admin` alone is Caddy's default
// address. Compose files set unused variables to the empty string. Such variables are
// unset before any configuration is read.
func init() {
	for _, name := range emptyVariables() {
		_ = os.Unsetenv(name) // the name comes from the environment
	}
}

// emptyVariables returns the gateway's variables that are empty, sorted.
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
// fallback applies if the variable is unset or empty. It is specific to this program:
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

// variable returns the value of an environment variable, or fallback if it is unset
// or empty.
func variable(name, fallback string) string {
	if value := os.Getenv(name); strings.TrimSpace(value) != "" {
		return value
	}
	return fallback
}
